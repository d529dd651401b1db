"""How near the boundaries of an alignment lie to the true ones.

A boundary is where one label ends and the next begins; a stretch without a label is silence. Labels of reference and
hypothesis are paired by edit distance, so that the two need not have the same labels or the same silences.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from speechkit.metrics.edit import alignments

Labelled = tuple[str, float, float]
"""A label with its start and end in seconds."""

TOLERANCES_MS = (10, 20, 50)
ROUNDING_S = 1e-4  # times that are nearer than this are the same


@dataclass
class BoundaryScore:
    """Differences in seconds, hypothesis minus reference, and how many reference boundaries have no counterpart."""

    differences: list[float] = field(default_factory=list)
    unpaired: int = 0

    @property
    def boundaries(self) -> int:
        """Reference boundaries, all of them."""
        return len(self.differences) + self.unpaired

    def within(self, milliseconds: float) -> float:
        """Percentage of all reference boundaries that the hypothesis has within a tolerance; unpaired ones are not."""
        near = sum(abs(difference) <= milliseconds / 1000 + ROUNDING_S / 100 for difference in self.differences)
        return 100 * near / max(1, self.boundaries)

    def figures(self) -> dict[str, float]:
        """Percentages by tolerance, counts, and mean and median differences in milliseconds."""
        differences = self.differences or [0.0]
        return {
            **{f"within_{tolerance}_ms": round(self.within(tolerance), 3) for tolerance in TOLERANCES_MS},
            "boundaries": self.boundaries,
            "unpaired": self.unpaired,
            "mean_ms": round(1000 * fmean(differences), 3),
            "median_absolute_ms": round(1000 * median(map(abs, differences)), 3),
        }


def score_boundaries(
    references: Sequence[Sequence[Labelled]],
    hypotheses: Sequence[Sequence[Labelled]],
    silences: Collection[str] = (),
    next_to_silence: bool = False,
) -> BoundaryScore:
    """Compare the boundaries of many utterances.

    Args:
        references, hypotheses: one sequence of labels for each utterance, in order of time.
        silences: labels that are silence, like stretches without a label.
        next_to_silence: also count the boundaries between a label and silence; else only those between two labels.

    Raises:
        ValueError: different numbers of references and hypotheses.
    """
    spoken_references = [[item for item in each if item[0] not in silences] for each in references]
    spoken_hypotheses = [[item for item in each if item[0] not in silences] for each in hypotheses]
    pairs = alignments(
        [[label for label, _, _ in each] for each in spoken_references],
        [[label for label, _, _ in each] for each in spoken_hypotheses],
    )
    score = BoundaryScore()
    for reference, hypothesis, paired in zip(spoken_references, spoken_hypotheses, pairs, strict=True):
        partner = _partners(paired)
        _between(reference, hypothesis, partner, score)
        if next_to_silence:
            _beside(reference, hypothesis, partner, score)
    return score


def _partners(paired: Sequence[tuple[object, object]]) -> list[int | None]:
    """For each reference label, the place of the hypothesis label it is paired with."""
    partner: list[int | None] = []
    place = 0
    for reference, hypothesis in paired:
        if reference is not None:
            partner.append(None if hypothesis is None else place)
        place += hypothesis is not None
    return partner


def _between(
    reference: Sequence[Labelled], hypothesis: Sequence[Labelled], partner: Sequence[int | None], score: BoundaryScore
) -> None:
    """Boundaries between two labels; of a hypothesis with silence there, the edge that is further away counts."""
    for left in range(len(reference) - 1):
        time = reference[left][2]
        if abs(reference[left + 1][1] - time) > ROUNDING_S:
            continue
        place, following = partner[left], partner[left + 1]
        if place is None or following != place + 1:
            score.unpaired += 1
            continue
        edges = (hypothesis[place][2] - time, hypothesis[following][1] - time)
        score.differences.append(max(edges, key=abs))


def _beside(
    reference: Sequence[Labelled], hypothesis: Sequence[Labelled], partner: Sequence[int | None], score: BoundaryScore
) -> None:
    """Boundaries between a label and silence, the silences at both ends of the utterance included."""
    for place, (_, start, end) in enumerate(reference):
        other = partner[place]
        before = reference[place - 1][2] if place else 0.0
        after = reference[place + 1][1] if place + 1 < len(reference) else float("inf")
        for edge, time, beside in ((1, start, abs(start - before)), (2, end, abs(after - end))):
            if beside <= ROUNDING_S:
                continue
            if other is None:
                score.unpaired += 1
            else:
                score.differences.append(float(hypothesis[other][edge]) - time)


@dataclass(frozen=True)
class Detection:
    """Boundaries of a segmentation without labels: how many `hits` those of a hypothesis and of a reference have."""

    hits: int = 0
    hypothesis: int = 0
    reference: int = 0

    def __add__(self, other: "Detection") -> "Detection":
        return Detection(self.hits + other.hits, self.hypothesis + other.hypothesis, self.reference + other.reference)

    @property
    def precision(self) -> float:
        """Share of the hypothesis' boundaries that are right."""
        return self.hits / max(1, self.hypothesis)

    @property
    def recall(self) -> float:
        """Share of the reference's boundaries that are found."""
        return self.hits / max(1, self.reference)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.hits / max(1, self.hypothesis + self.reference)

    def __str__(self) -> str:
        """One line."""
        return (
            f"precision {self.precision:.3f}, recall {self.recall:.3f}, F1 {self.f1:.3f} "
            f"({self.hypothesis} boundaries, {self.reference} true ones)"
        )

    def figures(self) -> dict[str, float]:
        """For JSON."""
        shares = {name: round(getattr(self, name), 6) for name in ("precision", "recall", "f1")}
        return {**shares, "hits": self.hits, "hypothesis": self.hypothesis, "reference": self.reference}


def detect_boundaries(reference: Sequence[float], hypothesis: Sequence[float], tolerance: float) -> Detection:
    """Pair as many boundaries as can be, each once, that are no further apart than `tolerance`.

    Args:
        reference, hypothesis: times in seconds, ascending.
        tolerance: in seconds.
    """
    hits = place = 0
    for time in reference:
        while place < len(hypothesis) and hypothesis[place] < time - tolerance - ROUNDING_S / 100:
            place += 1
        if place < len(hypothesis) and hypothesis[place] <= time + tolerance + ROUNDING_S / 100:
            hits += 1
            place += 1
    return Detection(hits, len(hypothesis), len(reference))


def boundary_table(scores: Mapping[str, BoundaryScore]) -> str:
    """Percentages within 10, 20 and 50 ms as lines of text, one for each name."""
    width = max([len("boundaries within"), *map(len, scores)])
    head = "".join(f"{f'{tolerance} ms':>9}" for tolerance in TOLERANCES_MS)
    lines = [f"{'boundaries within':<{width}}{head}{'mean':>9}{'count':>8}"]
    for name, score in scores.items():
        shares = "".join(f"{score.within(tolerance):>8.2f}%" for tolerance in TOLERANCES_MS)
        lines.append(f"{name:<{width}}{shares}{score.figures()['mean_ms']:>+6.1f} ms{score.boundaries:>8}")
    return "\n".join(lines)
