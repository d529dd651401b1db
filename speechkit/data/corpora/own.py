"""Data of one's own: a folder of audio and a file of transcripts become training, development and test set."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.names import nearest
from speechkit.data.manifests import SPLITS, Problem, Split
from speechkit.data.recordings import SPLIT, Found, Source, find_recordings, prepare_recordings
from speechkit.text.normalise import GENERAL, Rules, not_spelled_out

SPLIT_NAMES = {
    "train": "train", "training": "train", "dev": "dev", "valid": "dev", "validation": "dev", "val": "dev",
    "development": "dev", "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Division:
    """How utterances are divided: the shares of dev and test, by whole speakers or by single utterances."""

    dev: float = 0.1
    test: float = 0.1
    by: Literal["speaker", "utterance"] = "speaker"

    def __post_init__(self) -> None:
        if min(self.dev, self.test) < 0 or self.dev + self.test >= 1:
            shares = f"--dev-share {self.dev:g} and --test-share {self.test:g}"
            raise UsageError(f"{shares} have to be at least 0 and leave some to train on")


@dataclass(frozen=True)
class OwnData:
    """What `speechkit prepare --audio` was asked for; `digits` tells what becomes of text that is not spelled out."""

    audio: Path
    text: Path | None
    rules: Rules = GENERAL
    digits: Literal["keep", "leave-out"] = "keep"
    division: Division = Division()
    seed: int = 0


def prepare_own(data: OwnData, out: Path, nj: int) -> tuple[dict[str, Split], list[Problem]]:
    """Describe all good recordings, converted to 16 kHz mono under `out/audio` where they are not.

    Returns:
        The sets that got utterances, and all problems, of which those that leave something out are in the sets too.

    Raises:
        SpeechkitError: nothing is good, or there are too few speakers to divide.
    """
    found = find_recordings(data.audio, data.text, "--audio")
    spelled = _spelled_out(found, data.digits)
    sources, renamed = _without_spaces(spelled)
    content = prepare_recordings(sources, out / "audio", nj, data.rules)
    content.problems += [*found.problems, *renamed]
    if not content.supervisions:
        first = next(problem for problem in content.problems if not problem.used)
        raise SpeechkitError(f"{data.audio} has no usable recording; the first is {first.file}: {first.reason}")
    if not any(source.speaker or "/" in source.id for source in sources):
        reason = "no speaker: neither folders nor a column `speaker` name any; each recording counts as one"
        content.problems.append(Problem(SPLIT, data.audio.name, str(data.audio), reason, used=True))
    given = {source.id: source.split for source in sources}
    speakers = {item.id: str(item.speaker) for item in content.supervisions}
    assigned = _as_given(speakers, given) or divide(speakers, data.division, data.seed)
    return _divided(content, assigned), content.problems


def _spelled_out(found: Found, digits: str) -> list[Source]:
    """The recordings to go on with; what is not spelled out becomes a problem."""
    sources = []
    for source in found.sources:
        symbols = not_spelled_out(source.text or "")
        if symbols:
            reason = f"not spelled out: '{symbols}' in '{(source.text or '')[:60]}'"
            found.problems.append(Problem(SPLIT, source.id, str(source.audio), reason, used=digits == "keep"))
        if not symbols or digits == "keep":
            sources.append(source)
    return sources


def _without_spaces(sources: Sequence[Source]) -> tuple[list[Source], list[Problem]]:
    """Ids and speakers become words, as files of ids and words need them."""
    taken = {source.id for source in sources}
    kept, problems = [], []
    for source in sources:
        name = "_".join(source.id.split())
        speaker = "_".join(source.speaker.split()) if source.speaker else None
        if name != source.id:
            clash = name in taken
            reason = f"duplicate id: '{source.id}' would be '{name}'" if clash else f"spaces in id: '{source.id}'"
            problems.append(Problem(SPLIT, source.id, str(source.audio), reason, used=not clash))
            if clash:
                continue
            taken.add(name)
        kept.append(replace(source, id=name, speaker=speaker))
    return kept, problems


def _as_given(speakers: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str] | None:
    """Sets by a column of the transcripts; None where there is none."""
    names = {name: given[name] for name in speakers}
    if not any(names.values()):
        return None
    assigned = {}
    for name, split in names.items():
        if split is None or split.lower() not in SPLIT_NAMES:
            guess = nearest(split or "", SPLIT_NAMES)
            raise SpeechkitError(
                f"'{name}' has the set '{split or ''}' in the transcripts{guess}; it has to be train, dev or test"
            )
        assigned[name] = SPLIT_NAMES[split.lower()]
    return assigned


def divide(speakers: Mapping[str, str], division: Division, seed: int) -> dict[str, str]:
    """The set of each utterance, drawn with `seed`; each set with a share gets at least one speaker or utterance.

    Args:
        speakers: the speaker of each utterance.
        division: shares of all utterances; whole speakers join a set until it has its share.

    Raises:
        SpeechkitError: there are fewer speakers (or utterances) than sets.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name, speaker in sorted(speakers.items()):
        members[speaker if division.by == "speaker" else name].append(name)
    shares = {name: share for name, share in (("test", division.test), ("dev", division.dev)) if share > 0}
    if len(members) <= len(shares):
        remedy = "give --split-by utterance" if division.by == "speaker" else "record more"
        raise SpeechkitError(f"{len(members)} {division.by}s are too few for {len(shares) + 1} sets; {remedy}")
    order = random.Random(f"{seed} division").sample(sorted(members), len(members))
    assigned: dict[str, str] = {}
    for place, (split, share) in enumerate(shares.items()):
        count, needed = 0, len(shares) - place  # one for each other set
        while count == 0 or (count < share * len(speakers) and len(order) > needed):
            chosen = members[order.pop()]
            assigned.update(dict.fromkeys(chosen, split))
            count += len(chosen)
    return {name: assigned.get(name, "train") for name in speakers}


def _divided(content: Split, assigned: Mapping[str, str]) -> dict[str, Split]:
    """The sets that have utterances; what is left out belongs to the first of them."""
    counts = Counter(assigned.values())
    splits = {name: Split() for name in SPLITS if counts[name]}
    for recording, supervision in zip(content.recordings, content.supervisions, strict=True):
        splits[assigned[supervision.id]].recordings.append(recording)
        splits[assigned[supervision.id]].supervisions.append(supervision)
    first = next(iter(splits))
    left_out = (problem for problem in content.problems if not problem.used)
    splits[first].problems += [replace(problem, split=first) for problem in left_out]
    return splits
