"""Encoders of log-mel frames: the same numbers whatever stands beside an utterance, and times that fit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dct
from small_models import small_encoder

from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.models.log_mel import LogMel
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from speechkit.nn.waveform import ExtractorConfig

FRAMES = ExtractorConfig(in_dim=40, dim=32, kernels=(3, 2), strides=(1, 2), norm="layer", bias=True)


def encoder() -> SpeechEncoderConfig:
    return replace(small_encoder(large=True), log_mel=FbankConfig(num_bins=40), extractor=FRAMES)


def test_each_bin_of_an_utterance_is_normalised() -> None:
    waveforms = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    frames, lengths = LogMel(FbankConfig(num_bins=40))(waveforms, torch.tensor([8000, 5000]))
    assert lengths.tolist() == [48, 29]
    plain = Fbank(FbankConfig(num_bins=40)).extract(waveforms[1, :5000])
    expected = (plain - plain.mean(0)) / plain.std(0, correction=0)
    torch.testing.assert_close(frames[1, :29], expected, rtol=1e-4, atol=1e-4)
    assert not frames[1, 29:].any()


def test_low_precision_begins_behind_the_logarithm() -> None:
    waveforms, lengths = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)), torch.tensor([8000])
    expected, _ = LogMel(FbankConfig())(waveforms, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = LogMel(FbankConfig())(waveforms, lengths)
    assert torch.equal(found, expected)


def test_silence_stays_finite() -> None:
    frames, _ = LogMel(FbankConfig())(torch.zeros(1, 4000), torch.tensor([4000]))
    assert float(frames.abs().max()) < 1e-3


def test_hidden_states_do_not_depend_on_padding() -> None:
    torch.manual_seed(0)
    model = SpeechEncoder(encoder()).eval()
    waveforms, lengths = torch.randn(2, 8000) * 0.1, torch.tensor([8000, 5000])
    together, alone = model(waveforms, lengths), model(waveforms[1:, :5000], lengths[1:])
    assert together.frame_rate == 50
    assert together.lengths.tolist() == model.output_lengths(lengths).tolist() == [23, 13]
    for a, b in zip(together.layers, alone.layers, strict=True):
        torch.testing.assert_close(a[1:, :13], b[:, :13], rtol=1e-4, atol=1e-5)


def test_a_frame_sees_its_window_and_no_more() -> None:
    """Four log-mel windows of 25 ms, 10 ms apart: 55 ms; the first frame ends there."""
    config = encoder()
    assert (config.hop, config.window) == (320, 400 + 3 * 160)
    torch.manual_seed(0)
    model = SpeechEncoder(config).eval()
    for length, frames in ((config.window - 1, 0), (config.window, 1), (config.window + 320, 2)):
        assert config.output_lengths(torch.tensor([length])).tolist() == [frames]
        assert model.extract(torch.randn(1, length), torch.tensor([length]))[1].tolist() == [frames]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"log_mel": None}, "in_dim must be"),
        ({"log_mel": FbankConfig(num_bins=80)}, "in_dim must be"),
        ({"sampling_rate": 8000}, "sampling_rate must be"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        replace(encoder(), **changes)  # type: ignore[arg-type]


def test_cepstra_are_those_of_the_normalised_bins() -> None:
    waveforms, lengths = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)) * 0.1, torch.tensor([8000])
    bins, _ = LogMel(FbankConfig(num_bins=40))(waveforms, lengths)
    found, _ = LogMel(FbankConfig(num_bins=40), cepstra=13)(waveforms, lengths)
    expected = dct(bins[0].double().numpy(), type=2, norm="ortho")[:, :13]
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


@pytest.mark.parametrize("wrong", [{"cepstra": 13}, {"cepstra": 50, "log_mel": FbankConfig(num_bins=40)}])
def test_cepstra_need_bins(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cepstra"):
        SpeechEncoderConfig(extractor=replace(FRAMES, in_dim=wrong["cepstra"]), **wrong)
