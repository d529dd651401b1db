"""Audio of which no transcript may be used, and training sets that join what a model heard in it with true labels."""

import heapq
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from lhotse import MonoCut, SupervisionSegment

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.data.manifests import present_splits, read_cuts, write_cuts
from speechkit.features.cmvn import Cmvn

TRAIN, STATISTICS = "cuts_train.jsonl.gz", "cmvn.safetensors"


def require_other_speakers(pool: Path, labelled: Path) -> None:
    """Refuse a `pool` of cuts with speakers of the development or test set beside the `labelled` training set.

    Raises:
        SpeechkitError: naming such speakers.
    """
    held_out = {
        speaker: split
        for split in present_splits(labelled, "cuts")
        if split != "train"
        for speaker in _speakers(labelled / f"cuts_{split}.jsonl.gz")
    }
    common = sorted(_speakers(pool) & held_out.keys())
    if common:
        shown = ", ".join(f"{speaker} ({held_out[speaker]})" for speaker in common[:5])
        raise SpeechkitError(
            f"{pool} has {len(common)} speakers of the sets that measure the model: "
            f"{shown}{', ...' if len(common) > 5 else ''}; leave out their recordings"
        )


def _speakers(cuts: Path) -> set[str]:
    return {each.speaker for cut in read_cuts(cuts) for each in cut.supervisions if each.speaker}


def labelled_ids(labelled: Path) -> set[str]:
    """Ids of the cuts of the labelled training set."""
    return {cut.id for cut in read_cuts(labelled / TRAIN)}


def without_transcripts(pool: Path, left_out: set[str]) -> Iterator[MonoCut]:
    """The cuts of `pool` but those in `left_out`, before anybody can read what was said in them."""
    for cut in read_cuts(pool):
        if cut.id not in left_out:
            yield labelled_with(cut, {})


def labelled_with(cut: MonoCut, fields: dict[str, str]) -> MonoCut:
    """The cut with `fields` (`text`, or custom ones) as all that is known of its words; speaker and times stay."""
    if len(cut.supervisions) != 1:
        raise SpeechkitError(
            f"cut {cut.id} has {len(cut.supervisions)} supervisions; one per cut is needed: trim the cuts to them"
        )
    old, custom = cut.supervisions[0], {name: value for name, value in fields.items() if name != "text"}
    new = SupervisionSegment(
        old.id, old.recording_id, old.start, old.duration, old.channel, fields.get("text"), old.language, old.speaker,
        old.gender, custom or None,
    )  # fmt: skip
    return replace(cut, supervisions=[new], custom=None)


def relabel(cuts: Path, heard: Mapping[str, Sequence[str]], out: Path, field: str, source: str) -> tuple[int, int]:
    """Write the cuts of a manifest to `out` with the words that were `heard` in them as all that is known of them.

    The statistics of features that lie beside the manifest are copied.

    Returns:
        Utterances written, and those left out because nothing was heard.

    Raises:
        SpeechkitError: nothing is known of a cut (`source` names the file with the words), or no cut is left.
    """
    missing = [cut.id for cut in read_cuts(cuts) if cut.id not in heard]
    if missing:
        raise SpeechkitError(
            f"{source} lacks {len(missing)} utterances of {cuts}, the first is {missing[0]}; decode these cuts"
        )
    kept, empty = (sum(bool(heard[cut.id]) is said for cut in read_cuts(cuts)) for said in (True, False))
    if not kept:
        raise SpeechkitError(f"{source} has no words for any utterance of {cuts}; the model that decoded hears nothing")
    spoken = (cut for cut in read_cuts(cuts) if heard[cut.id])
    write_cuts(out / cuts.name, (labelled_with(cut, {field: " ".join(heard[cut.id])}) for cut in spoken))
    if (statistics := cuts.with_name(STATISTICS)).exists():
        with atomic_path(out / STATISTICS) as temporary:
            shutil.copyfile(statistics, temporary)
    return kept, empty


def write_training_set(out: Path, labelled: Path, copies: int, pseudo: Iterable[MonoCut], count: int) -> None:
    """Write a training set of so many `copies` of the labelled one and of `count` cuts of `pseudo`, evenly mixed.

    Development and test set are those of `labelled`.
    """
    size = sum(1 for _ in read_cuts(labelled / TRAIN))
    for split in present_splits(labelled, "cuts"):
        if split != "train":
            with atomic_path(out / f"cuts_{split}.jsonl.gz") as temporary:
                shutil.copyfile(labelled / f"cuts_{split}.jsonl.gz", temporary)
    write_cuts(out / TRAIN, _mixed([(_repeated(labelled / TRAIN, copies), size * copies), (pseudo, count)]))


def _repeated(cuts: Path, copies: int) -> Iterator[MonoCut]:
    """The cuts, and further copies of them with ids of their own."""
    for copy in range(copies):
        for cut in read_cuts(cuts):
            yield cut.with_id(f"{cut.id}_copy{copy}") if copy else cut


def _mixed(streams: Sequence[tuple[Iterable[MonoCut], int]]) -> Iterator[MonoCut]:
    """Streams of so many cuts each, merged so that the shares are the same everywhere: batches are drawn from a window
    that is smaller than a large set."""
    placed = [_placed(stream, count, number) for number, (stream, count) in enumerate(streams)]
    return (cut for _, _, cut in heapq.merge(*placed, key=itemgetter(0, 1)))


def _placed(stream: Iterable[MonoCut], count: int, number: int) -> Iterator[tuple[float, int, MonoCut]]:
    """The cuts of a stream with their places between 0 and 1, and the number of the stream."""
    for place, cut in enumerate(stream):
        yield (place + 0.5) / count, number, cut


def write_statistics(out: Path, labelled: Path, pool: Path) -> None:
    """Write the normalisation statistics of the training set: those of each speaker, and of all its audio.

    A speaker of both has those of the `pool`, where more was said. Models of waveforms have no statistics.
    """
    tables = [Cmvn.load(path) for path in (labelled / STATISTICS, pool.with_name(STATISTICS)) if path.exists()]
    if not tables:
        return
    joined = Cmvn()
    for table in tables:
        joined.speakers.update(table.speakers)
        if table.overall is not None:
            joined.overall = table.overall if joined.overall is None else joined.overall + table.overall
    joined.save(out / STATISTICS)
