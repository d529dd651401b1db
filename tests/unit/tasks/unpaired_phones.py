"""A language of few phones, speech whose features tell them, and text that shares no sentence with it."""

from pathlib import Path

import numpy as np
from lhotse import CutSet, Features, MonoCut, NumpyFilesWriter, SupervisionSegment

from speechkit.lm.counts import count_ngrams
from speechkit.lm.kneser_ney import estimate
from speechkit.text.tokens import TokenTable

PHONES = ("aa", "b", "d", "eh", "f", "g", "iy", "k", "m", "n", "s", "uw")
SILENCE = "<SIL>"
COLUMNS, FOLLOWERS, NOISE, SCALE = 32, 4, 0.1, 5.0


class Speech:
    """Sentences of a bigram model in which every phone has few followers of its own, never itself."""

    def __init__(self, seed: int = 100) -> None:
        generator = np.random.default_rng(seed)
        count = len(PHONES)
        self.follow = np.zeros((count, count))
        for phone in range(count):
            others = [other for other in range(count) if other != phone]
            chosen = generator.choice(others, FOLLOWERS, replace=False)
            self.follow[phone, chosen] = generator.dirichlet(np.ones(FOLLOWERS))
        self.first = generator.dirichlet(np.ones(count))
        turned = np.linalg.qr(generator.normal(size=(COLUMNS, COLUMNS)))[0]
        self.rows = SCALE * turned[: count + 1]  # one-hot vectors in another basis; the last is that of silence

    def sentence(self, generator: np.random.Generator) -> list[int]:
        length = generator.integers(8, 21)
        found = [int(generator.choice(len(PHONES), p=self.first))]
        while len(found) < length:
            found.append(int(generator.choice(len(PHONES), p=self.follow[found[-1]])))
        return found

    def features(self, sentence: list[int], generator: np.random.Generator) -> np.ndarray:
        """One or two segments of each phone, with silence around them."""
        segments = [phone for phone in sentence for _ in range(1 + (generator.random() < 0.3))]
        rows = self.rows[[-1, *segments, -1]]
        return (rows + SCALE * NOISE * generator.normal(size=rows.shape)).astype(np.float32)


def make_data(folder: Path, train: int = 600, dev: int = 60, *, transcripts: bool = True) -> None:
    """Write `pooled` features with cuts of two splits, `text` with phones and tokens, and a trigram model `lm.arpa`.

    Args:
        transcripts: whether the cuts have supervisions, which nothing but a report of errors may read.
    """
    speech, generator = Speech(), np.random.default_rng(0)
    (folder / "pooled").mkdir(parents=True)
    with NumpyFilesWriter(folder / "pooled" / "storage") as writer:
        for split, count in (("train", train), ("dev", dev)):
            cuts = [_cut(f"{split}{n:04d}", speech, generator, writer, transcripts) for n in range(count)]
            CutSet.from_cuts(cuts).to_file(folder / "pooled" / f"cuts_{split}.jsonl.gz")
    sentences = [[PHONES[phone] for phone in speech.sentence(generator)] for _ in range(train)]
    (folder / "text").mkdir()
    lines = [f"{SILENCE} {' '.join(phones)} {SILENCE}\n" for phones in sentences]
    (folder / "text" / "phones.txt").write_text("".join(lines))
    TokenTable([SILENCE, *PHONES]).write(folder / "text" / "tokens.txt")
    estimate(count_ngrams(sentences, 3)).write(folder / "lm.arpa")


def _cut(
    name: str, speech: Speech, generator: np.random.Generator, writer: NumpyFilesWriter, transcripts: bool
) -> MonoCut:
    sentence = speech.sentence(generator)
    array = speech.features(sentence, generator)
    length = len(array) / 10
    features = Features(
        type="pooled", num_frames=len(array), num_features=COLUMNS, frame_shift=0.1, sampling_rate=16000, start=0,
        duration=length, storage_type=writer.name, storage_path=str(writer.storage_path),
        storage_key=writer.write(name, array), recording_id=name, channels=0,
    )  # fmt: skip
    text = " ".join(PHONES[phone] for phone in sentence)
    said = [SupervisionSegment(name, name, 0, length, text=text, speaker="anna")] if transcripts else []
    return MonoCut(name, 0, length, 0, features=features, supervisions=said)
