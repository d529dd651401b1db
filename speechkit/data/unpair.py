"""A labelled training set as audio and as text that do not belong together, as unsupervised recognition has them.

TIMIT's two settings in Baevski et al. 2021 ("Unsupervised speech recognition"): in the matched one the
text is the transcripts of the same audio, shuffled; in the unmatched one it has none of its sentences.
"""

import random
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, write_text
from speechkit.common.seeds import derive
from speechkit.data.batches import text_fields
from speechkit.data.manifests import present_splits, read_cuts, write_cuts
from speechkit.data.unlabelled import STATISTICS, TRAIN, labelled_with

TEXT, TEXT_CUTS = "text.txt", "cuts_text.jsonl.gz"


@dataclass(frozen=True)
class Unpaired:
    """Utterances of which there is audio, utterances of which there is text, and sentences that both have."""

    audio: int
    text: int
    common_sentences: int


def unpair(data: Path, out: Path, field: str, text_share: float | None, seed: int) -> Unpaired:
    """Write the training set of `data` to `out`, without any transcript, and beside it text.

    `cuts_train.jsonl.gz` is the audio, the other sets stay as they are; `text.txt` has the `field` of the utterances of
    the text, shuffled, `cuts_text.jsonl.gz` those utterances.

    Args:
        field: of the supervisions: "text", or a custom one such as "phones".
        text_share: of the utterances, so many (less than 1) go to the text, sentence by sentence: a sentence that
            several speakers read is on one side; of none, 0, there is no text. None takes all for both: the matched
            setting.

    Raises:
        SpeechkitError: no training set, no such field, or too few sentences for two parts.
    """
    train = data / TRAIN
    sentences = Counter(sentence_of(cut) for cut in read_cuts(train))
    if not sentences or "" in sentences:
        raise SpeechkitError(
            f"{train} holds {'an utterance without its words' if sentences else 'no cut'}; prepare it again"
        )
    chosen = set(sentences) if text_share is None else drawn(sentences, text_share, seed)
    if text_share != 0 and (not chosen or (text_share is not None and len(chosen) == len(sentences))):
        raise SpeechkitError(f"{train} has {len(sentences)} sentences, too few for audio and text; take more data")
    lines = [_line(cut, field, train) for cut in read_cuts(train) if sentence_of(cut) in chosen]
    random.Random(derive(seed, "order of text")).shuffle(lines)
    _copy_rest(data, out)
    if lines:
        write_cuts(out / TEXT_CUTS, (cut for cut in read_cuts(train) if sentence_of(cut) in chosen))
        write_text(out / TEXT, "".join(f"{line}\n" for line in lines))
    kept = {sentence for sentence in sentences if text_share is None or sentence not in chosen}
    write_cuts(out / TRAIN, (labelled_with(cut, {}) for cut in read_cuts(train) if sentence_of(cut) in kept))
    return Unpaired(sum(sentences[each] for each in kept), len(lines), len(kept & chosen))


def sentence_of(cut: Any) -> str:
    """What was said, however it is pronounced."""
    return " ".join((text_fields(cut).get("text") or "").lower().split())


def drawn(sentences: Counter[str], share: float, seed: int) -> set[str]:
    """Sentences, drawn at random, that come to about a `share` of the utterances and never to more."""
    wanted, found = share * sum(sentences.values()), 0
    chosen = set()
    for sentence in sorted(sentences, key=lambda each: derive(seed, "text", each)):
        if found + sentences[sentence] <= wanted:
            found += sentences[sentence]
            chosen.add(sentence)
    return chosen


def _line(cut: MonoCut, field: str, train: Path) -> str:
    text = text_fields(cut).get(field)
    if not text:
        raise SpeechkitError(f"{train}: cut {cut.id} has no '{field}'; correct --field")
    return " ".join(text.split())


def _copy_rest(data: Path, out: Path) -> None:
    """The other sets, and the statistics of features where there are some."""
    names = [f"cuts_{split}.jsonl.gz" for split in present_splits(data, "cuts") if split != "train"]
    for name in (*names, STATISTICS):
        if (data / name).exists():
            with atomic_path(out / name) as temporary:
                shutil.copyfile(data / name, temporary)
