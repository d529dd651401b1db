"""Corpora: one module each, which turns the corpus's own folders into manifests."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.common.errors import UsageError
from speechkit.common.names import nearest

if TYPE_CHECKING:
    from speechkit.data.manifests import Split


@dataclass(frozen=True)
class Option:
    """An option of one corpus: `kind` reads its text and raises ValueError."""

    kind: Callable[[str], Any]
    help: str


@dataclass(frozen=True)
class Corpus:
    """Module whose `prepare(root, out, seed, nj, **options)` returns a `Split` for each split."""

    module: str
    title: str
    options: dict[str, Option]


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError(text)
    return names


_SETS = {
    f"{split}-sets": Option(_names, f"the corpus's sets that are the {split} set here, separated by commas")
    for split in ("train", "dev", "test")
}


CORPORA = {
    "timit": Corpus("speechkit.data.corpora.timit", "TIMIT (LDC93S1): the folder that holds TRAIN and TEST", {}),
    "aishell": Corpus(
        "speechkit.data.corpora.aishell", "AISHELL-1 (OpenSLR 33): the folder that holds data_aishell", {}
    ),
    "wsj": Corpus(
        "speechkit.data.corpora.wsj",
        "WSJ (LDC93S6A and LDC94S13A): the folder that holds their discs",
        {
            **_SETS,
            "verbalised": Option(str, "training utterances with verbalised punctuation: keep (default) or drop"),
        },
    ),
    "librispeech": Corpus(
        "speechkit.data.corpora.librispeech",
        "LibriSpeech (OpenSLR 12): the folder that holds LibriSpeech and, if wanted, librispeech_finetuning",
        _SETS,
    ),
    "digits": Corpus(
        "speechkit.data.corpora.digits",
        "Free Spoken Digit Dataset: the folder of {digit}_{speaker}_{index}.wav",
        {
            "test-speakers": Option(_names, "speakers held out for the test set, separated by commas"),
            "train-passes": Option(int, "how often the training recordings are joined anew (default 6)"),
            "voices": Option(Path, "folder of recordings by other speakers, who all join the training"),
        },
    ),
}


def prepare_corpus(name: str, root: Path, out: Path, seed: int, nj: int, options: dict[str, Any]) -> "dict[str, Split]":
    """Read the corpus at `root`; files that it makes go under `out`.

    Raises `UsageError` for an unknown corpus or an option that belongs to another one, and
    `SpeechkitError` where `root` is missing, empty, or another corpus.
    """
    if name not in CORPORA:
        raise UsageError(f"unknown corpus '{name}'{nearest(name, CORPORA) or '; known: ' + ', '.join(CORPORA)}")
    corpus = CORPORA[name]
    for option in options:
        if option not in corpus.options:
            raise UsageError(f"--{option} is no option of corpus '{name}'")
    from speechkit.data.corpora.recognise import require_folder

    require_folder(root)
    module = importlib.import_module(corpus.module)
    arguments = {option.replace("-", "_"): value for option, value in options.items()}
    splits: dict[str, Split] = module.prepare(root, out, seed=seed, nj=nj, **arguments)
    return splits
