"""True boundaries of a set, and how near alignments come to them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechkit.align.ctm import read_ctm
from speechkit.align.segments import PHONE, WORD, Alignment
from speechkit.align.units import TIMIT_SILENCES, Units
from speechkit.common.errors import SpeechkitError
from speechkit.data.alignments import Spoken, read_spoken
from speechkit.metrics.boundaries import BoundaryScore, Labelled, score_boundaries
from speechkit.text.phones import DELETED, fold

Kind = Literal["phone", "word"]


@dataclass(frozen=True)
class Truth:
    """Reference labels of utterances, in their order.

    Phones count between two phones, not beside silence; words at both of their ends, beside silence too.
    """

    kind: Kind
    references: Sequence[Sequence[Labelled]]
    silences: Collection[str]

    def score(self, alignments: Sequence[Alignment]) -> BoundaryScore:
        """Compare the alignments of the same utterances."""
        return self.score_labels(
            [[(item.label, item.start, item.end) for item in each.tiers[self.kind]] for each in alignments]
        )

    def score_labels(self, hypotheses: Sequence[Sequence[Labelled]]) -> BoundaryScore:
        """Compare labels with start and end."""
        return score_boundaries(self.references, hypotheses, self.silences, next_to_silence=self.kind == WORD)


def true_boundaries(spoken: Sequence[Spoken], units: Units) -> Truth | None:
    """The true phones of the cuts where they are the aligner's, else their words, else None."""
    phones = [each.labels(PHONE) for each in spoken]
    if units.phone_set:
        known = [folded(each, units.phone_set) for each in phones if each is not None]
        if len(known) == len(spoken):
            return Truth(PHONE, known, units.silences)
    known = [each for each in phones if each is not None and all(label in units.ids for label, _, _ in each)]
    if spoken and len(known) == len(spoken):
        return Truth(PHONE, known, units.silences)
    words = [each for item in spoken if (each := item.labels(WORD)) is not None]
    if spoken and units.lexicon is not None and len(words) == len(spoken):
        return Truth(WORD, words, ())
    return None


def folded(labels: Sequence[Labelled], phone_set: int) -> list[Labelled]:
    """TIMIT phones of a smaller set; `q` leaves a gap, whose edges are no boundaries between phones."""
    return [
        (fold([label], phone_set)[0], start, end) for label, start, end in labels if label != DELETED or phone_set == 61
    ]


def read_labels(path: Path, kind: Kind) -> dict[str, list[Labelled]]:
    """Labels by utterance from a CTM file or from the alignments in a manifest of cuts.

    Raises:
        SpeechkitError: the cuts have no alignment of this kind.
    """
    if path.suffix == ".ctm":
        return {name: [(item.label, item.start, item.end) for item in items] for name, items in read_ctm(path).items()}
    found = {}
    for spoken in read_spoken(path):
        labels = spoken.labels(kind)
        if labels is None:
            raise SpeechkitError(f"cut {spoken.id} of {path} has no {kind} alignment; align the set first")
        found[spoken.id] = labels
    return found


def best_kind(paths: Sequence[Path]) -> Kind | None:
    """Phones where the first cut of every manifest has true ones, else words, else None; CTM files go with phones."""
    first = [next(iter(read_spoken(path)), None) for path in paths if path.suffix != ".ctm"]
    kinds: tuple[Kind, ...] = (PHONE, WORD)
    return next((kind for kind in kinds if all(each is not None and each.labels(kind) for each in first)), None)


def compare(
    reference: Mapping[str, Sequence[Labelled]],
    hypothesis: Mapping[str, Sequence[Labelled]],
    kind: Kind,
    phone_set: int | None,
) -> BoundaryScore:
    """Score one set; utterances of the reference that the hypothesis lacks have all their boundaries unpaired.

    Args:
        reference, hypothesis: labels by utterance.
        kind: what they are.
        phone_set: fold TIMIT phones of both to this set first.
    """
    rows: list[Sequence[Labelled]] = [reference[name] for name in reference]
    found: list[Sequence[Labelled]] = [hypothesis.get(name, []) for name in reference]
    silences: Collection[str] = ("",)
    if kind == PHONE:
        silences = ("", *TIMIT_SILENCES)
        if phone_set:
            rows = [folded(each, phone_set) for each in rows]
            found = [folded(each, phone_set) for each in found]
    return Truth(kind, rows, silences).score_labels(found)
