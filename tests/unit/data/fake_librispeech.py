"""A LibriSpeech of a few utterances with label splits, on disk."""

from pathlib import Path

import soundfile
from fake_corpora import tone

READERS = {
    "train-clean-100": ("19", "26"),
    "train-other-500": ("20",),
    "dev-clean": ("84",),
    "test-clean": ("61",),
}


def chapter(folder: Path, speaker: str, utterances: tuple[int, ...], announced: int = 2) -> None:
    """FLAC files of the `utterances` of one chapter, and its transcripts of the first `announced`."""
    folder = folder / speaker / f"{speaker}00"
    folder.mkdir(parents=True)
    names = [f"{speaker}-{speaker}00-{number:04d}" for number in range(announced)]
    for number in utterances:
        soundfile.write(folder / f"{names[number]}.flac", tone(8000, number), 16000, subtype="PCM_16")
    lines = [f"{name} IT'S NUMBER {'ONE' if number else 'NOUGHT'}\n" for number, name in enumerate(names)]
    (folder / f"{speaker}-{speaker}00.trans.txt").write_text("".join(lines))


def fake_librispeech(root: Path) -> Path:
    """Four subsets, two utterances of each reader; of 19 one is in fold 0, of 20 one in fold 3 and one in the 9 h."""
    for subset, readers in READERS.items():
        for reader in readers:
            chapter(root / "LibriSpeech" / subset, reader, (0, 1))
    rows = [f"{reader:<5}| F | {subset:<17}| 25.03 | Jane Doe\n" for subset, all_ in READERS.items() for reader in all_]
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text("; about the readers\n;ID  |SEX| SUBSET |...\n" + "".join(rows))
    chapter(root / "librispeech_finetuning" / "1h" / "0" / "clean", "19", (0,))
    chapter(root / "librispeech_finetuning" / "1h" / "3" / "other", "20", (1,))
    chapter(root / "librispeech_finetuning" / "9h" / "other", "20", (0,))
    return root
