"""Crops of waveforms and the frame labels that go with them."""

import math
from pathlib import Path

import pytest
import torch
from counted_cuts import HOP, RATE, make_cut, make_labels

from speechkit.common.errors import SpeechkitError
from speechkit.data.distortion import DistortionConfig
from speechkit.data.waveforms import WaveformDataset


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


def test_labels_follow_the_sound_at_another_speed(tmp_path: Path) -> None:
    cut, labels = make_cut(tmp_path, "a", 1000), make_labels(tmp_path, 50, a=50)
    for speed in (0.8, 1.25):
        data = WaveformDataset([labels], 4000, HOP, RATE, 0, distortion=DistortionConfig(speeds=(speed,)))
        batch = data[[cut]]
        assert batch.lengths.tolist() == [1000 / speed]
        # What is heard in frame t was in frame t speed; a resampled ramp is a ramp, but for its ends.
        frames = math.ceil(50 / speed)
        assert batch.labels[0][0].tolist() == [int(frame * speed + 1e-6) for frame in range(frames)]
        heard = batch.waveforms[0, 100:-100] * 32768
        assert torch.allclose(heard, torch.arange(100, len(heard) + 100) * speed, atol=3)


def test_the_undistorted_sound_goes_along(tmp_path: Path) -> None:
    cuts = [make_cut(tmp_path, name, 1000) for name in ("a", "b")]
    config = DistortionConfig(speeds=(1.25,), noise_share=1.0)
    batch = WaveformDataset([], 400, HOP, RATE, 0, distortion=config, keep_plain=True)[cuts]
    assert batch.plain is not None
    assert (batch.waveforms.shape, batch.plain.shape, batch.speed) == ((2, 400), (2, 500), 1.25)
    counted = batch.plain * 32768
    assert torch.equal(counted, counted[:, :1] + torch.arange(500))
    assert WaveformDataset([], 400, HOP, RATE, 0, distortion=config)[cuts].plain is None


def test_distorted_crops_come_again_exactly(tmp_path: Path) -> None:
    cuts = [make_cut(tmp_path, name, 900) for name in ("a", "b")]
    config = DistortionConfig(speeds=(0.9, 1.0, 1.1), noise_share=1.0, reverb_share=0.5)
    data = WaveformDataset([], 300, HOP, RATE, 1, distortion=config)
    first = data[cuts]
    assert torch.equal(first.waveforms, data[cuts].waveforms)
    assert not torch.equal(first.waveforms, WaveformDataset([], 300, HOP, RATE, 1)[cuts].waveforms)


def test_files_that_are_not_as_announced_are_named(tmp_path: Path) -> None:
    cut = make_cut(tmp_path, "a", 1000)
    with pytest.raises(SpeechkitError, match=r"a\.wav has 1000 Hz instead of 16000 Hz"):
        WaveformDataset([], 400, HOP, 16000, 0)[[cut]]
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(SpeechkitError, match=r"a\.wav: not audio.*speechkit validate"):
        WaveformDataset([], 400, HOP, RATE, 0)[[cut]]
