"""Connected digits from the Free Spoken Digit Dataset (Jackson et al., DOI 10.5281/zenodo.1342401).

The recordings hold one digit each. Utterances of three to seven digits are made by joining recordings
of one speaker with short pauses of faint noise, at 16 kHz. What is made depends on the recordings and the
seed alone.
"""

import io
import logging
import math
import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem
from numpy.typing import NDArray

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import disk_errors
from speechkit.common.names import nearest
from speechkit.common.progress import progress
from speechkit.data.audio import BadAudioError, check_audio, read_audio, read_header
from speechkit.data.corpora.published import contents_of_miniature
from speechkit.data.corpora.recognise import wrong_corpus
from speechkit.data.manifests import SPLITS, Problem, Split, make_recording
from speechkit.data.parallel import parallel_map

log = logging.getLogger(__name__)
NAME = re.compile(r"(\d)_([^_.]+)_(\d+)\.wav", re.IGNORECASE)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16000
RECORDINGS_PER_SPEAKER = 500  # 50 of each digit
FEWEST_DIGITS, MOST_DIGITS = 3, 7
PAUSE_SECONDS = (0.05, 0.3)
NOISE_LEVELS = (1e-3, 2e-2)  # standard deviation of the noise in pauses, the speech of the utterance being 1
SPEED_STEPS = (17, 23)  # twentieths of the recorded speed: 0.85 to 1.15
FIRST_DEV_INDEX, FIRST_TRAIN_INDEX = 5, 10  # the official split: indices 0-4 are the test set
FILES_PER_BATCH = 64
VOICES = "voices"


@dataclass(frozen=True)
class _Spoken:
    """One recording of one digit."""

    path: Path
    digit: int
    speaker: str
    index: int


@dataclass(frozen=True)
class _Utterance:
    """Recordings to be joined into `path`."""

    id: str
    split: str
    path: Path
    parts: tuple[_Spoken, ...]
    seed: str
    natural: bool  # recordings at their own speed, not each at a random one


def prepare(
    root: Path,
    out: Path,
    seed: int,
    nj: int,
    test_speakers: Sequence[str] = (),
    train_passes: int = 6,
    voices: Path | None = None,
) -> dict[str, Split]:
    """Write utterances as FLAC under `out/audio/<split>/<speaker>/` and describe them.

    Args:
        root: folder of `{digit}_{speaker}_{index}.wav`, or one with such a folder `recordings`.
        out: folder for the audio.
        seed: seed of orders, lengths and pauses.
        nj: processes.
        test_speakers: speakers whose recordings are all test; the others' indices 0-4 are then dev. Where left
            out, indices 0-4 of all speakers are test and 5-9 dev, the official split.
        train_passes: how often the training recordings are used, from the second time on at random speeds; dev and test
            recordings are used once, as they are.
        voices: folder of the same form whose speakers all join the training, each recording once and as it is.

    Returns:
        For each split its utterances, and the recordings that cannot be used, each with its reason.
    """
    if train_passes < 1:
        raise UsageError(f"--train-passes must be at least 1, not {train_passes}")
    real = _find(root)
    speakers = {item.speaker for item in real}
    _require_speakers(test_speakers, speakers)
    joining = _find(voices) if voices else []
    _require_other_speakers(voices, {item.speaker for item in joining} & speakers)
    bad = _bad_recordings([*real, *joining], nj)
    _compare_with_published_counts(root, real)
    splits = {split: Split() for split in SPLITS}
    usable: dict[str, list[_Spoken]] = defaultdict(list)
    for item in [*real, *joining]:
        split = _split_of(item, test_speakers) if item.speaker in speakers else VOICES
        if item.path in bad:
            name = split if split in splits else "train"
            splits[name].problems.append(Problem(name, item.path.stem, str(item.path), bad[item.path]))
        else:
            usable[split].append(item)
    for split in SPLITS:
        if not usable[split]:
            needed = f"it needs indices 0 to {FIRST_TRAIN_INDEX}"
            raise SpeechkitError(f"{root} has no usable recording for the {split} set; {needed}")
    plan = [
        utterance
        for split in SPLITS
        for utterance in _plan(split, usable[split], out / "audio", seed, train_passes if split == "train" else 1)
    ]
    plan += _plan("train", usable[VOICES], out / "audio", seed, 1)
    _write_audio(plan, out / "audio", splits, nj)
    return splits


def _find(root: Path) -> list[_Spoken]:
    below = root / "recordings"
    folder = below if below.is_dir() else root
    found = []
    for path in folder.iterdir():
        if match := NAME.fullmatch(path.name):
            found.append(_Spoken(path, int(match[1]), match[2].lower(), int(match[3])))
    if not found:
        raise wrong_corpus(root, "the Free Spoken Digit Dataset", "no file is named like 7_jackson_32.wav")
    return sorted(found, key=lambda item: (item.speaker, item.digit, item.index))


def _compare_with_published_counts(root: Path, found: Sequence[_Spoken]) -> None:
    """Warn of speakers with fewer recordings than the corpus, or than the miniature, has of them."""
    contents = contents_of_miniature(root) or {}
    notes = []
    for speaker, count in sorted(Counter(item.speaker for item in found).items()):
        expected = contents[speaker].utterances if speaker in contents else RECORDINGS_PER_SPEAKER
        notes += [f"{count} of {expected} of {speaker}"] if count != expected else []
    if notes:
        log.warning("recordings are missing: there are %s", ", ".join(notes))


def _require_speakers(wanted: Sequence[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            names = ", ".join(sorted(known))
            raise UsageError(f"--test-speakers: there is no speaker '{name}'{nearest(name, known)} (speakers: {names})")
    if wanted and set(wanted) == known:
        raise UsageError("--test-speakers names every speaker; leave some to train on")


def _require_other_speakers(voices: Path | None, common: set[str]) -> None:
    if common:
        raise SpeechkitError(f"{voices}: speaker '{min(common)}' is in the corpus too; give other recordings")


def _split_of(item: _Spoken, test_speakers: Sequence[str]) -> str:
    if item.speaker in test_speakers:
        return "test"
    if item.index < FIRST_DEV_INDEX:
        return "dev" if test_speakers else "test"
    return "dev" if item.index < FIRST_TRAIN_INDEX and not test_speakers else "train"


def _bad_recordings(spoken: Sequence[_Spoken], nj: int) -> dict[Path, str]:
    paths = [item.path for item in spoken]
    batches = [paths[start : start + FILES_PER_BATCH] for start in range(0, len(paths), FILES_PER_BATCH)]
    found = progress(parallel_map(_check_batch, batches, nj), len(batches), "check recordings")
    return {path: reason for batch in found for path, reason in batch}


def _check_batch(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    bad = []
    for path in paths:
        try:
            check_audio(path, read_header(path).num_samples)
        except BadAudioError as error:
            bad.append((path, str(error)))
    return bad


def _plan(split: str, usable: Sequence[_Spoken], folder: Path, seed: int, passes: int) -> list[_Utterance]:
    """Deal each speaker's recordings out to utterances, every one once in each pass.

    All passes but the first take each recording at a random speed, which moves its pitch and formants too.
    """
    speakers: dict[str, list[_Spoken]] = defaultdict(list)
    for item in usable:
        speakers[item.speaker].append(item)
    plan = []
    for speaker, items in sorted(speakers.items()):
        number = 0
        for pass_number in range(passes):
            draw = random.Random(f"{seed} {split} {speaker} {pass_number}")
            order = draw.sample(items, len(items))
            for length in _lengths(len(order), draw):
                name = f"{speaker}-{split}-{number:04d}"
                path = folder / split / speaker / f"{name}.flac"
                parts, order = tuple(order[:length]), order[length:]
                plan.append(_Utterance(name, split, path, parts, f"{seed} {name}", pass_number == 0))
                number += 1
    return plan


def _lengths(total: int, draw: random.Random) -> list[int]:
    """Random numbers of digits that add up to `total`, within the bounds where `total` allows it."""
    lengths = []
    while total > MOST_DIGITS:
        length = min(draw.randint(FEWEST_DIGITS, MOST_DIGITS), total - FEWEST_DIGITS)
        lengths.append(length)
        total -= length
    return [*lengths, total] if total else lengths


def _write_audio(plan: Sequence[_Utterance], folder: Path, splits: dict[str, Split], nj: int) -> None:
    """Write all utterances to a temporary folder that then takes the place of `folder`."""
    with disk_errors(folder):
        temporary = folder.with_name(f".{folder.name}-unfinished")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            moved = [(utterance, temporary / utterance.path.relative_to(folder)) for utterance in plan]
            for path in {path.parent for _, path in moved}:
                path.mkdir(parents=True)
            spans = progress(parallel_map(_synthesise, moved, nj), len(plan), "join digits")
            aligned = list(zip(plan, spans, strict=True))
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for utterance, words in aligned:
        recording = make_recording(utterance.id, utterance.path)
        supervision = SupervisionSegment(
            id=utterance.id,
            recording_id=utterance.id,
            start=0.0,
            duration=recording.duration,
            text=" ".join(word.symbol for word in words),
            language="English",
            speaker=utterance.parts[0].speaker,
            alignment={"word": words},
        )
        splits[utterance.split].recordings.append(recording)
        splits[utterance.split].supervisions.append(supervision)


def _synthesise(job: tuple[_Utterance, Path]) -> list[AlignmentItem]:
    """Write one utterance and return where its words are."""
    import soundfile

    utterance, path = job
    draw = random.Random(utterance.seed)
    noise = np.random.default_rng(draw.getrandbits(64))
    spoken = [
        _resampled(part.path, 20 if utterance.natural else draw.randint(*SPEED_STEPS)) for part in utterance.parts
    ]
    loudness = float(np.sqrt(np.mean(np.concatenate(spoken) ** 2)))
    level = loudness * math.exp(draw.uniform(*map(math.log, NOISE_LEVELS)))
    pieces, words, length = [_pause(draw, noise, level)], [], 0
    for part, samples in zip(utterance.parts, spoken, strict=True):
        length += len(pieces[-1])
        words.append(AlignmentItem(WORDS[part.digit], length / RATE, len(samples) / RATE))
        length += len(samples)
        pieces += [samples, _pause(draw, noise, level)]
    encoded = io.BytesIO()  # libsndfile's own writing does not say that a disk is full
    soundfile.write(encoded, np.concatenate(pieces).clip(-1, 1), RATE, subtype="PCM_16", format="FLAC")
    path.write_bytes(encoded.getvalue())
    return words


def _pause(draw: random.Random, noise: np.random.Generator, level: float) -> NDArray[np.float32]:
    samples = round(draw.uniform(*PAUSE_SECONDS) * RATE)
    pause: NDArray[np.float32] = noise.standard_normal(samples, dtype=np.float32) * np.float32(level)
    return pause


def _resampled(path: Path, twentieths: int) -> NDArray[np.float32]:
    """The recording at `RATE`, played at `twentieths` / 20 of its speed."""
    from scipy.signal import resample_poly

    samples, rate = read_audio(path)
    divisor = math.gcd(20 * RATE, twentieths * rate)
    resampled: NDArray[np.float32] = resample_poly(samples, 20 * RATE // divisor, twentieths * rate // divisor)
    return resampled
