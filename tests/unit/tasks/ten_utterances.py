"""A recipe with ten synthetic utterances, in which each word has a spectrum of its own, and commands run in it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment

from speechkit.features.cmvn import Cmvn, CmvnStats

WORDS = ("one", "two", "six")
CONFIG = """
model:
  in_dim: 8
  strides: [2]
  dilations: [1]
  dropout: 0.0
  transformer: {dim: 32, layers: 1, heads: 2, feed_forward: 64, position_kernel: 7, position_groups: 4,
                norm_first: true, dropout: 0.0, attention_dropout: 0.0}
batches: {max_duration: 5, workers: 0, buckets: 2, normalisation: global}
augment: {frequency_masks: 0, time_width: 0}
train: {max_updates: 90, validate_every: 30, log_every: 30, average_best: 2, schedule: {peak: 5.0e-3}}
lfmmi: {warmup_updates: 20}
"""


def make_data(folder: Path, vocabulary: Sequence[str] = WORDS) -> None:
    """Three splits of the same ten utterances: each word has a spectrum of its own, silence between words."""
    generator = np.random.default_rng(0)
    patterns = {word: generator.normal(0, 3, size=(1, 8)) for word in vocabulary}
    folder.mkdir()
    cuts = []
    with LilcomChunkyWriter(folder / "features") as writer:
        for index in range(10):
            words = generator.choice(vocabulary, size=3).tolist()
            rows = [np.zeros((4, 8))]
            for word in words:
                rows += [np.repeat(patterns[word], 12, axis=0), np.zeros((6, 8))]
            array = (np.concatenate(rows) + generator.normal(0, 0.1, size=(58, 8))).astype(np.float32)
            name = f"utt{index}"
            features = Features(
                type="fbank", num_frames=len(array), num_features=8, frame_shift=0.01, sampling_rate=16000, start=0,
                duration=len(array) / 100, storage_type=writer.name, storage_path=str(writer.storage_path),
                storage_key=writer.write(name, array), recording_id=name, channels=0,
            )  # fmt: skip
            length = len(array) / 100
            supervision = SupervisionSegment(name, name, 0, length, text=" ".join(words), speaker="anna")
            cuts.append(MonoCut(name, 0, length, 0, features=features, supervisions=[supervision]))
    for split in ("train", "dev", "test"):
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    cmvn = Cmvn()
    for cut in cuts:
        stats = CmvnStats.of(torch.from_numpy(cut.load_features()))
        cmvn.overall = stats if cmvn.overall is None else cmvn.overall + stats
        cmvn.add("anna", stats)
    cmvn.save(folder / "cmvn.safetensors")


def train_command(out: str, *more: str) -> list[str]:
    return ["train", "--config", "fbank.yaml", "--data", "data", "--lang", "lang", "--out", out, *more]
