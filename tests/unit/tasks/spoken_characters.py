"""Utterances of characters with a spectrum each, aligned, and a model of CTC that knows the spectra."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechkit.config.load import from_dict
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import make_lang

CHARACTERS = "我你他好"
SHIFT, OFFSET = 0.01, 0.0075
Said = Sequence[tuple[str, int]]
"""Characters, or "sil", with their numbers of frames."""


def write_set(
    folder: Path, name: str, utterances: Mapping[str, Said], *, noise: float = 0.0, aligned: bool = True
) -> Path:
    """`cuts_<name>.jsonl.gz` with features of 6 columns, and `cmvn.safetensors`; the manifest."""
    rng = np.random.default_rng(len(name))
    folder.mkdir(exist_ok=True)
    cuts, stats = [], []
    with LilcomChunkyWriter(folder / f"features_{name}", tick_power=-8) as writer:
        for utterance, said in utterances.items():
            columns = [CHARACTERS.find(label) for label, count in said for _ in range(count)]
            array = 8.0 * (np.array(columns)[:, None] == np.arange(6)) + noise * rng.normal(size=(len(columns), 6))
            array = array.astype(np.float32)
            edges = np.cumsum([0, *(count for _, count in said)]) * SHIFT + OFFSET
            edges[0], edges[-1] = 0.0, round(len(array) * SHIFT + 0.015, 4)
            items = [
                AlignmentItem(label, float(start), float(end - start))
                for (label, _), start, end in zip(said, edges[:-1], edges[1:], strict=True)
            ]
            duration = float(edges[-1])
            features = Features(
                type="fbank", num_frames=len(array), num_features=6, frame_shift=SHIFT, sampling_rate=16000, start=0,
                duration=duration, storage_type=writer.name, storage_path=str(writer.storage_path),
                storage_key=writer.write(utterance, array), recording_id=utterance, channels=0,
            )  # fmt: skip
            supervision = SupervisionSegment(
                utterance, utterance, 0, duration, text=" ".join(label for label, _ in said if label != "sil"),
                speaker="anna", alignment={"phone": items} if aligned else None,
            )  # fmt: skip
            cuts.append(MonoCut(utterance, 0, duration, 0, features=features, supervisions=[supervision]))
            stats.append(CmvnStats.of(torch.from_numpy(array)))
    path = folder / f"cuts_{name}.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(path)
    if stats:
        overall = sum(stats[1:], stats[0])
        Cmvn(overall, {"anna": overall}).save(folder / "cmvn.safetensors")
    return path


def write_recognizer(folder: Path, boundary: str = "none") -> Path:
    """A model that gives each frame the character whose spectrum it has, blank to silence."""
    config = {
        "conv": {"in_dim": 6, "channels": [6], "kernels": [1], "strides": [1], "dropout": 0.0},
        "batches": {"normalisation": "none"},
    }
    lang = make_lang("char", list(CHARACTERS), boundary=boundary)
    recognizer = Recognizer(from_dict(CtcConfig, config, "test"), lang, Cmvn(CmvnStats.of(torch.randn(9, 6))))
    weights = {name: torch.zeros_like(each) for name, each in recognizer.module.state_dict().items()}
    weights["layers.0.weight"] = torch.eye(6)[:, :, None]
    for column, character in enumerate(CHARACTERS):
        weights["output.weight"][lang.tokens.ids([character])[0], column] = 1.0
    weights["output.bias"][0] = 4.0
    recognizer.save(folder, weights)
    return folder
