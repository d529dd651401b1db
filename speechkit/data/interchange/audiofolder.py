"""Audio folders of Hugging Face `datasets`: a folder for each set, with recordings and a metadata.csv.

`datasets.load_dataset("audiofolder", data_dir=FOLDER)` reads what is written here, and what such a folder holds is read
without that package. https://huggingface.co/docs/datasets/audio_dataset
"""

import csv
import io
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lhotse import MonoCut

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, write_text
from speechkit.data.audio import read_audio
from speechkit.data.conversion import write_flac
from speechkit.data.manifests import Split
from speechkit.data.recordings import find_recordings, prepare_recordings

FOLDERS = {"train": ("train", "training"), "dev": ("validation", "valid", "dev"), "test": ("test", "testing")}
METADATA = ("metadata.csv", "metadata.jsonl")
COLUMNS = ("file_name", "transcription", "speaker_id", "gender", "language")


def folders_of(folder: Path) -> dict[str, Path]:
    """The folder of each set that `folder` holds with its metadata."""
    found = {}
    for split, names in FOLDERS.items():
        present = [folder / name for name in names if any((folder / name / file).exists() for file in METADATA)]
        if len(present) > 1:
            raise SpeechkitError(f"{present[0]} and {present[1]} are both the {split} set; move one of them away")
        if present:
            found[split] = present[0]
    return found


def read_audiofolder(folder: Path, split: str, audio: Path, nj: int = 1) -> Split:
    """Read one set.

    Args:
        folder: with the metadata and the recordings that it names.
        split: name of the set.
        audio: where recordings that are not mono at 16 kHz are converted to.
        nj: processes that convert.

    Returns:
        The utterances, with their words as they are, and all that is wrong as problems.
    """
    metadata = next((folder / name for name in METADATA if (folder / name).exists()), None)
    if metadata is None:
        raise SpeechkitError(f"{folder} holds no {' or '.join(METADATA)}; give the folder of an audiofolder set")
    found = find_recordings(folder, metadata, "--in")
    content = prepare_recordings(found.sources, audio, nj, rules=None)
    content.problems = [replace(problem, split=split) for problem in (*content.problems, *found.problems)]
    return content


def write_audiofolder(cuts: Iterable[MonoCut], folder: Path, split: str) -> int:
    """Write one set; returns the number of utterances.

    Files of WAV and FLAC that are an utterance as a whole are copied; of others the utterance is written as FLAC.
    """
    target = folder / FOLDERS[split][0]
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(COLUMNS)
    count = 0
    for cut in cuts:
        supervision = cut.supervisions[0]
        name = _write_audio(cut, target)
        details = (supervision.speaker, supervision.gender, supervision.language)
        rows.writerow([name, supervision.text, *(value or "" for value in details)])
        count += 1
    write_text(target / METADATA[0], table.getvalue())
    return count


def _write_audio(cut: MonoCut, folder: Path) -> str:
    """The name below `folder` of the file with the audio of a cut."""
    source, recording = Path(cut.recording.sources[0].source), cut.recording
    whole = cut.start == 0 and cut.num_samples == recording.num_samples
    with source.open("rb") as stream:
        plain = {b"RIFF": ".wav", b"fLaC": ".flac"}.get(stream.read(4))
    name = f"{cut.id}{plain if whole and plain else '.flac'}"
    if whole and plain:
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(source, temporary)
        return name
    samples, rate = read_audio(source, round(cut.start * recording.sampling_rate), cut.num_samples)
    write_flac(folder / name, samples, rate)
    return name
