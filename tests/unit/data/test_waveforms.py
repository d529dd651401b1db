"""Crops of waveforms and the frame labels that go with them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment

from speechkit.common.errors import SpeechkitError
from speechkit.data.labels import LabelFile, LabelWriter
from speechkit.data.waveforms import WaveformDataset
from speechkit.nn.lengths import NO_LABEL

HOP, RATE = 20, 1000  # 50 frames a second


def make_cut(folder: Path, name: str, num_samples: int, start: float = 0.0) -> MonoCut:
    """A cut whose sample i is i / 32768, counted from the beginning of the file."""
    path = folder / f"{name}.wav"
    offset = round(start * RATE)
    soundfile.write(path, np.arange(offset + num_samples, dtype=np.int16), RATE, subtype="PCM_16")
    recording = Recording.from_file(path, recording_id=name)
    seconds = num_samples / RATE
    supervision = SupervisionSegment(name, name, 0, seconds, text="a")
    return MonoCut(name, start, seconds, 0, recording=recording, supervisions=[supervision])


def make_labels(folder: Path, rate: float, **counts: int) -> LabelFile:
    """Frame i of an utterance has label i."""
    with LabelWriter(folder, "train", rate, [str(number) for number in range(200)]) as writer:
        for name, count in counts.items():
            writer.add(name, np.arange(count))
    return LabelFile(folder, "train")


@pytest.mark.parametrize(("rate", "step"), [(50, 1), (100, 2), (25, 0.5)])
def test_labels_keep_step_with_crops_at_every_offset(tmp_path: Path, rate: float, step: float) -> None:
    """HuBERT, must have 2 and 11: floor(t label rate / frame rate), from the frame that the crop begins in."""
    cut, short = make_cut(tmp_path, "long", 1003, start=0.25), make_cut(tmp_path, "short", 205)
    labels = make_labels(tmp_path, rate, long=int(1.003 * rate), short=int(0.205 * rate))
    firsts = set()
    for seed in range(60):
        batch = WaveformDataset([labels], 4000, HOP, RATE, seed)[[cut, short]]
        assert batch.waveforms.shape == (2, 205)
        assert batch.lengths.tolist() == [205, 205]
        samples = (batch.waveforms[0] * 32768).round().int()
        assert torch.equal(samples, samples[0] + torch.arange(205))
        first, beyond = divmod(int(samples[0]) - 250, HOP)
        assert beyond == 0
        expected = torch.tensor([int((first + t) * step) for t in range(11)])
        missing = expected >= len(labels["long"])
        assert torch.equal(batch.labels[0][0], expected.masked_fill(missing, NO_LABEL))
        firsts.add(first)
    assert min(firsts) == 0
    assert max(firsts) == (1003 - 205) // HOP


def test_crops_depend_on_seed_and_batch_only(tmp_path: Path) -> None:
    cuts = [make_cut(tmp_path, name, 900) for name in ("a", "b", "c")]
    draw = WaveformDataset([], 300, HOP, RATE, seed=1)
    assert torch.equal(draw[cuts].waveforms, draw[cuts].waveforms)
    assert draw[cuts].waveforms.shape == (3, 300)
    assert not torch.equal(draw[cuts].waveforms, draw[cuts[::-1]].waveforms.flip(0))
    assert not torch.equal(draw[cuts].waveforms, WaveformDataset([], 300, HOP, RATE, seed=2)[cuts].waveforms)


def test_whole_utterances_are_padded(tmp_path: Path) -> None:
    cuts = [make_cut(tmp_path, "a", 100), make_cut(tmp_path, "b", 160)]
    labels = make_labels(tmp_path, 50, a=5, b=8)
    batch = WaveformDataset([labels], 4000, HOP, RATE, 0, crop=False)[cuts]
    assert batch.lengths.tolist() == [100, 160]
    assert not batch.waveforms[0, 100:].any()
    assert batch.labels[0].tolist() == [[0, 1, 2, 3, 4, -1, -1, -1], list(range(8))]


def test_labels_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    """HuBERT, must have 2: an error on a length mismatch over the tolerance, and on missing labels."""
    cut = make_cut(tmp_path, "a", 1000)
    for count in (60, 40):
        with pytest.raises(SpeechkitError, match=f"cut a has {count} labels at 50 a second, but lasts 1.00 s"):
            WaveformDataset([make_labels(tmp_path, 50, a=count)], 4000, HOP, RATE, 0)[[cut]]
    with pytest.raises(SpeechkitError, match="no labels for cut a"):
        WaveformDataset([make_labels(tmp_path, 50, b=50)], 4000, HOP, RATE, 0)[[cut]]


def test_files_that_are_not_as_announced_are_named(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, "a", 1000)
    with pytest.raises(SpeechkitError, match=r"a\.wav has 1000 Hz instead of 16000 Hz"):
        WaveformDataset([], 400, HOP, 16000, 0)[[cut]]
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(SpeechkitError, match=r"a\.wav: not audio.*speechkit validate"):
        WaveformDataset([], 400, HOP, RATE, 0)[[cut]]
