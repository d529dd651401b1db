"""A part of a training set, to measure what a system needs of labels."""

import shutil
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.common.seeds import derive
from speechkit.data.manifests import present_splits, read_cuts, write_cuts

BESIDE = "cmvn.safetensors"


def make_subset(source: Path, out: Path, share: float, seed: int) -> tuple[int, float]:
    """Copy the cuts of `source` to `out`, of the training set a random `share` of its duration.

    What was drawn for a share is part of what is drawn for a greater one. Features and audio stay where they are.

    Returns:
        Utterances and seconds of the new training set.

    Raises:
        SpeechkitError: there is no training set, or nothing in it.
    """
    train = source / "cuts_train.jsonl.gz"
    splits = present_splits(source, "cuts")
    if "train" not in splits:
        raise SpeechkitError(f"{train} does not exist; name a folder of validated cuts or of features")
    drawn = sorted((derive(seed, "subset", cut.id), cut.id, cut.duration) for cut in read_cuts(train))
    total, seconds = sum(duration for _, _, duration in drawn), 0.0
    chosen: set[str] = set()
    for _, name, duration in drawn:
        if seconds >= share * total and chosen:
            break
        chosen.add(name)
        seconds += duration
    if not chosen:
        raise SpeechkitError(f"{train} holds no cut; run the stage that makes it again")
    for name in [f"cuts_{split}.jsonl.gz" for split in splits if split != "train"] + [BESIDE]:
        if (source / name).exists():
            with atomic_path(out / name) as temporary:
                shutil.copyfile(source / name, temporary)
    write_cuts(out / train.name, (cut for cut in read_cuts(train) if cut.id in chosen))
    return len(chosen), seconds
