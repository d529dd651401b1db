"""Pitch against Kaldi's own numbers, and what the algorithm promises against programs written from the definition."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from speechkit.features import pitch_torch
from speechkit.features.pitch import Pitch
from speechkit.features.pitch_ballast import ballasts, chunks_of
from speechkit.features.pitch_config import PitchConfig
from speechkit.features.pitch_cpu import BestPath
from speechkit.features.pitch_process import process
from speechkit.features.pitch_tables import PitchTables, lag_grid

CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, float]] = {
    "default": {},
    "snip_edges_false": {"snip_edges": False},
    "f0_60_500_delta01": {"min_f0": 60, "max_f0": 500, "delta_pitch": 0.01},
    "penalty_05_softmin5": {"penalty_factor": 0.05, "soft_min_f0": 5},
    "shift8_len32": {"frame_shift": 8, "frame_length": 32},
    "fs8000": {"sample_frequency": 8000},
}


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    folder = Path(os.environ.get("SPEECHKIT_REFERENCE", Path(__file__).parents[4] / "shared" / "reference"))
    if not (folder / "pitch_reference.npz").exists():
        pytest.skip("set SPEECHKIT_REFERENCE to a folder with pitch_reference.npz")
    with np.load(folder / "pitch_reference.npz") as arrays:
        return dict(arrays)


def waveform_of(reference: dict[str, np.ndarray], name: str) -> torch.Tensor:
    return torch.from_numpy(reference[f"wave/{name}"]).float() / 32768


def tone(hertz: float, seconds: float, level: float = 0.3, rate: int = 16000) -> torch.Tensor:
    times = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return sum(level / k * torch.sin(2 * math.pi * k * hertz * times) for k in (1, 2, 3)).float()


def voiced(nccf: np.ndarray) -> np.ndarray:
    n = np.abs(nccf)
    return -5.2 + 5.4 * np.exp(7.5 * (n - 1)) + 4.8 * n - 2 * np.exp(-10 * n) + 4.2 * np.exp(20 * (n - 1)) > 0


def correlations(pitch: Pitch, waveform: torch.Tensor) -> torch.Tensor:
    """NCCF with ballast at the lags of the grid `(T, L)`, and whether a window holds more than rounding `(T,)`."""
    signal, config = pitch.lowered(waveform), pitch.config
    ballast, revised = ballasts(signal, chunks_of(config, len(waveform)), config)
    windows = pitch_torch.windows_of(signal[None], torch.tensor([len(signal)]), len(ballast), config)
    with_ballast, _ = pitch_torch.correlate(windows, ballast[None], revised[None], config)
    return with_ballast[0] @ PitchTables(config, CPU).weights


def flat(pitch: Pitch, waveform: torch.Tensor, frames: int) -> np.ndarray:
    """Frames whose window is constant but for the rounding of float32, where Kaldi's NCCF is that of the rounding."""
    signal = pitch.lowered(waveform)
    windows = pitch_torch.windows_of(signal[None], torch.tensor([len(signal)]), frames, pitch.config)[0]
    windows = windows[:, : pitch.config.window_length].double()
    return ((windows - windows.mean(1, keepdim=True)).abs().amax(1) < 1e-5 * windows.abs().amax(1)).numpy()


def path_cost(nccf: torch.Tensor, states: np.ndarray, config: PitchConfig) -> float:
    """Equation 5 summed along a path, and the price of its steps, in float64."""
    value = nccf.double().numpy()[np.arange(len(states)), states]
    local = 1 - value * (1 - config.soft_min_f0 * lag_grid(config).astype(np.float64)[states])
    steps = config.penalty_factor * math.log(1 + config.delta_pitch) ** 2 * np.diff(states.astype(np.float64)) ** 2
    return float(local.sum() + steps.sum())


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_kaldi(reference: dict[str, np.ndarray], variant: str) -> None:
    config = PitchConfig(delta_pitch_noise_stddev=0, **VARIANTS[variant])
    pitch, grid = Pitch(config), np.log(lag_grid(config))
    names = [key.split("/")[2] for key in reference if key.startswith(f"raw/{variant}/")]
    assert len(names) >= 41
    checked, apart = 0, 0
    for name in names:
        kaldi, waveform = reference[f"raw/{variant}/{name}"], waveform_of(reference, name)
        ours = pitch.track([waveform])[0].numpy()
        assert len(ours) == len(kaldi), name
        if len(kaldi) == 0:
            continue
        states, theirs = (np.abs(np.log(hertz)[:, None] + grid).argmin(1) for hertz in (ours[:, 1], kaldi[:, 1]))
        same, sound = states == theirs, ~flat(pitch, waveform, len(ours))
        np.testing.assert_allclose(np.log(ours[same, 1]), np.log(kaldi[same, 1]), atol=1e-5)
        np.testing.assert_allclose(ours[same & sound, 0], kaldi[same & sound, 0], atol=1e-5)
        if same.all() and sound.all():
            features = process(torch.from_numpy(ours), config).numpy()
            np.testing.assert_allclose(features, reference[f"processed/{variant}/{name}"], atol=2e-3)
        elif not same.all():  # a tie: both paths cost the same but for the rounding of float32
            nccf = correlations(pitch, waveform)
            assert abs(path_cost(nccf, states, config) - path_cost(nccf, theirs, config)) < 1e-8 * len(ours)
        checked += int(voiced(kaldi[:, 0]).sum())
        apart += int((voiced(kaldi[:, 0]) & ~same).sum())
    assert checked > 5000
    assert apart <= 0.001 * checked


def test_checklist_1_75_measured_lags_417_lags_98_frames() -> None:
    config = PitchConfig()
    assert (config.first_lag, config.last_lag) == (8, 82)
    tables = PitchTables(config, CPU)
    assert (tables.num_measured, tables.num_lags) == (75, 417)
    assert config.num_frames(16000) == 98
    assert Pitch(config).extract(tone(150, 1)).shape == (98, 3)


def test_checklist_2_ballast_is_of_the_whole_signal_for_the_track_and_none_for_voicing() -> None:
    quiet, loud = tone(150, 1, 0.001), tone(150, 1, 0.3)
    together = torch.cat([quiet, loud])
    pitch = Pitch(PitchConfig())
    signal = pitch.lowered(together)
    ballast, revised = ballasts(signal, chunks_of(pitch.config, len(together)), pitch.config)
    expected = (float(signal[:-2].double().var(unbiased=False)) * 100) ** 2 * 7000
    np.testing.assert_allclose(ballast[:190].numpy(), expected, rtol=1e-6)
    assert (revised == -1).all()
    assert 0.01 < correlations(pitch, quiet)[10:80].max() < 0.015  # about 1 / sqrt(1 + 7000)
    assert correlations(pitch, together)[10:80].abs().max() < 1e-5
    assert pitch.track([together])[0][10:80, 0].min() > 0.99


def test_checklist_3_order_is_pov_log_pitch_delta() -> None:
    config = PitchConfig(delta_pitch_noise_stddev=0)
    raw = torch.stack([torch.linspace(-1, 1, 50), torch.linspace(100, 200, 50)], dim=1)
    features = process(raw, config)
    assert features.shape == (50, 3)
    torch.testing.assert_close(features[:, 0], 2 * ((1.0001 - raw[:, 0]) ** 0.15 - 1))
    log_pitch = raw[:, 1].log()
    weight = 1 / (1 + torch.exp(-torch.tensor([_log_odds(float(n)) for n in raw[:, 0]])))
    torch.testing.assert_close(features[:, 1], 2 * (log_pitch - (weight * log_pitch).sum() / weight.sum()))
    slope = sum(n * (log_pitch[25 + n] - log_pitch[25 - n]) for n in (1, 2)) / 10
    torch.testing.assert_close(features[25, 2], 10 * slope)
    chosen = process(raw, PitchConfig(add_pov_feature=False, add_delta_pitch=False, add_raw_log_pitch=True, delay=3))
    torch.testing.assert_close(chosen[3:], torch.stack([features[:, 1], log_pitch], dim=1))
    torch.testing.assert_close(chosen[:3], chosen[3].expand(3, 2))


def _log_odds(nccf: float) -> float:
    n = abs(nccf)
    return -5.2 + 5.4 * math.exp(7.5 * (n - 1)) + 4.8 * n - 2 * math.exp(-10 * n) + 4.2 * math.exp(20 * (n - 1))


def test_checklist_4_delta_noise_follows_its_generator_and_can_be_off() -> None:
    waveform, pitch = tone(150, 4), Pitch(PitchConfig())
    first, again, other = (pitch.extract(waveform, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first[:, :2], other[:, :2])
    silent = Pitch(PitchConfig(delta_pitch_noise_stddev=0)).extract(waveform)
    assert 0.9 < float((first - silent)[:, 2].std()) / (10 * 0.005) < 1.1


def test_checklist_5_log_pitch_is_centred_by_voicing_over_75_frames_on_each_side() -> None:
    generator = torch.Generator().manual_seed(0)
    raw = torch.stack([torch.rand(400, generator=generator), 50 + 350 * torch.rand(400, generator=generator)], dim=1)
    features = process(raw, PitchConfig())
    weight = np.array([1 / (1 + math.exp(-_log_odds(float(n)))) for n in raw[:, 0]])
    log_pitch = np.log(raw[:, 1].numpy().astype(np.float64))
    for t in (0, 10, 200, 399):
        around = slice(max(0, t - 75), t + 76)
        expected = 2 * (log_pitch[t] - np.average(log_pitch[around], weights=weight[around]))
        assert float(features[t, 1]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("smooth", [1, 9, 60])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0])
def test_checklist_6_fast_viterbi_is_as_good_as_trying_every_step(smooth: int, scale: float) -> None:
    config = PitchConfig(min_f0=100, penalty_factor=0.1 if smooth > 1 else 100.0)
    tables, generator = PitchTables(config, CPU), np.random.default_rng(smooth)
    noise = generator.normal(size=(600, tables.num_lags + smooth - 1)).astype(np.float32)
    nccf = np.stack([np.convolve(row, np.full(smooth, smooth**-0.5), "valid") for row in noise]) * scale
    nccf[200:220] = 0  # silence amid the signal
    path = BestPath(tables, np.empty((2, 256 * tables.num_lags), dtype=np.int16))
    for first in range(0, 600, 200):
        path.extend(nccf[first : first + 200].astype(np.float32))
    found, batch = path.back(path.best, 600), torch.from_numpy(nccf.astype(np.float32))
    every = pitch_torch.search(batch[None], torch.tensor([600]), tables)[0].numpy()
    assert path_cost(batch, found, config) == pytest.approx(path_cost(batch, every, config), abs=600 * 3e-8)
    assert (found != every).mean() < 0.02
    worse = found.copy()
    worse[300] += 1 if worse[300] == 0 else -1
    assert path_cost(batch, worse, config) > path_cost(batch, found, config)


def test_checklist_8_8khz_input_finds_the_same_pitch() -> None:
    raw = Pitch(PitchConfig(sample_frequency=8000)).track([tone(137, 1, rate=8000)])[0]
    assert len(raw) == 98
    np.testing.assert_allclose(raw[:, 1].numpy(), 137, rtol=0.005)
    odd = Pitch(PitchConfig(sample_frequency=44100)).track([tone(137, 1, rate=44100)])[0]
    assert len(odd) == 98
    np.testing.assert_allclose(odd[:, 1].numpy(), 137, rtol=0.005)


NOISE = 0.1 * torch.randn(3000, generator=torch.Generator().manual_seed(0))
HARD = {
    "silence": torch.zeros(16000),
    "constant": torch.full((16000,), 0.7),
    "clipped": (50 * tone(100, 1)).clamp(-1, 1),
    "impulse": torch.eye(1, 16000)[0],
    "one window": NOISE[:400],
    "a little more": NOISE[:700],
    "half silent": torch.cat([torch.zeros(8000), tone(200, 0.5)]),
    "tiny": tone(200, 1, 1e-9),
    "loud": tone(200, 1, 3.0),
}


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("name", HARD)
def test_checklist_8_hard_signals_give_finite_frames(name: str, snip_edges: bool) -> None:
    pitch = Pitch(PitchConfig(snip_edges=snip_edges))
    features = pitch.extract(HARD[name])
    assert len(features) == pitch.config.num_frames(len(HARD[name])) > 0
    assert features.isfinite().all()


def test_silence_alone_stays_at_the_shortest_lag() -> None:
    raw = Pitch(PitchConfig()).track([torch.zeros(16000)])[0]
    assert raw.tolist() == [[0.0, pytest.approx(400.0)]] * 98


@pytest.mark.parametrize(
    ("samples", "snipped", "whole"), [(0, 0, 0), (1, 0, 0), (396, 0, 0), (400, 1, 3), (560, 2, 4), (16000, 98, 100)]
)
def test_number_of_frames(samples: int, snipped: int, whole: int) -> None:
    waveform = torch.cat([NOISE] * 6)[:samples]
    assert Pitch(PitchConfig()).extract(waveform).shape == (snipped, 3)
    assert Pitch(PitchConfig(snip_edges=False)).extract(waveform).shape == (whole, 3)


BATCH = [tone(150, 1.3), NOISE, NOISE[:100], torch.cat([torch.zeros(4000), tone(300, 0.2)])]


def test_a_batch_gives_each_waveform_what_it_gets_alone() -> None:
    pitch = Pitch(PitchConfig(delta_pitch_noise_stddev=0))
    lengths = torch.tensor([len(waveform) for waveform in BATCH])
    features, frames = pitch(pad_sequence(BATCH, batch_first=True), lengths)
    assert frames.tolist() == [128, 17, 0, 43]
    for row, waveform, count in zip(features, BATCH, frames, strict=True):
        assert torch.equal(row[:count], pitch.extract(waveform))
        assert not row[count:].any()
    listed, _ = pitch(BATCH)
    assert torch.equal(listed, features)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"snip_edges": False, "preemphasis_coefficient": 0.9},
        {"preemphasis_coefficient": 0.5},
        {"frames_per_chunk": 10, "recompute_frame": 20},
        {"nccf_ballast_online": True, "frames_per_chunk": 7},
    ],
)
def test_the_batch_in_torch_equals_the_compiled_loops(settings: dict[str, float]) -> None:
    pitch = Pitch(PitchConfig(**settings))
    waveforms = [waveform for waveform in BATCH if pitch.config.num_frames(len(waveform))]
    signals = [pitch.lowered(waveform) for waveform in waveforms]
    chunks = [chunks_of(pitch.config, len(waveform)) for waveform in waveforms]
    each = [ballasts(signal, parts, pitch.config) for signal, parts in zip(signals, chunks, strict=True)]
    for alone, batched in zip(pitch.track(waveforms), pitch.track_batch(signals, each), strict=True):
        torch.testing.assert_close(batched, alone, atol=1e-5, rtol=1e-5)


def test_pieces_know_less_of_the_level_until_it_is_revised() -> None:
    waveform = torch.cat([tone(150, 1, 0.01), tone(150, 1, 0.3)])
    whole = Pitch(PitchConfig())
    signal = whole.lowered(waveform)

    def levels(config: PitchConfig) -> tuple[torch.Tensor, torch.Tensor]:
        return ballasts(signal, chunks_of(config, len(waveform)), config)

    pieces = PitchConfig(frames_per_chunk=10, recompute_frame=150)
    ballast, revised = levels(pieces)
    assert (ballast[1:] >= ballast[:-1] * 0.9).all()
    assert ballast[0] < 1e-4 * ballast[-1]
    first = next(chunk for chunk in chunks_of(pieces, len(waveform)) if chunk.frames >= 150)
    expected = (float(signal[: first.samples].double().var(unbiased=False)) * 100) ** 2 * 7000
    np.testing.assert_allclose(revised[:150].numpy(), expected, rtol=1e-5)
    assert (revised[150:] == -1).all()
    at_end = levels(PitchConfig(frames_per_chunk=10))[1]
    np.testing.assert_allclose(at_end.numpy(), float(ballast[-1]), rtol=1e-5)
    online, unrevised = levels(PitchConfig(nccf_ballast_online=True))
    assert float(online[20]) == pytest.approx((float(signal[:982].double().var(unbiased=False)) * 100) ** 2 * 7000)
    assert (unrevised == -1).all()


def settled(best: list[np.ndarray], frames: int, most: int) -> int:
    """Frames at whose end all best paths of `frames` frames go through one lag, less than `most` ago; tried out."""
    low, high = best
    for count in range(min(most, frames - 1)):
        if low[frames - 2 - count] == high[frames - 2 - count]:
            return frames - count
    return frames - min(most, frames)


@pytest.mark.parametrize("latency", [0, 5, 1000])
@pytest.mark.parametrize("recompute_frame", [0, 60, 500])
def test_the_first_pass_sees_the_best_path_of_what_has_come(latency: int, recompute_frame: int) -> None:
    waveform = torch.cat([tone(150, 0.4, 0.01), NOISE, tone(230, 0.5)])
    online = {"frames_per_chunk": 10, "recompute_frame": recompute_frame}
    config = PitchConfig(**online, max_frames_latency=latency, simulate_first_pass_online=True)
    found = Pitch(config).track([waveform])[0]
    pitch, tables = Pitch(PitchConfig(**online)), PitchTables(config, CPU)
    signal, chunks = pitch.lowered(waveform), chunks_of(config, len(waveform))
    ballast, revised = ballasts(signal, chunks, config)
    windows = pitch_torch.windows_of(signal[None], torch.tensor([len(signal)]), len(ballast), config)
    expected: list[float] = []
    for chunk in [*chunks[:-2], chunks[-1]]:
        last = chunk is chunks[-1]
        known = revised if last or chunk.frames >= recompute_frame else torch.full_like(revised, -1)
        nccf = pitch_torch.correlate(windows, ballast[None], known[None], config)[0] @ tables.weights
        if chunk.frames == 0:
            continue
        states = pitch_torch.search(nccf[:, : chunk.frames], torch.tensor([chunk.frames]), tables)[0]
        ends = []
        for end in (0, tables.num_lags - 1):
            forced = torch.full((1, 1, tables.num_lags), -1e6)
            forced[0, 0, end] = 0
            # A frame more that only this lag survives, from which stepping away costs more than anything.
            forced = torch.cat([nccf[:, : chunk.frames - 1], forced], dim=1)
            ends.append(pitch_torch.search(forced, torch.tensor([chunk.frames]), tables)[0].numpy())
        ready = chunk.frames if last else settled(ends, chunk.frames, latency)
        expected.extend(tables.hertz[states[len(expected) : ready]].tolist())
    assert len(expected) == len(found)
    assert (np.abs(np.log(found[:, 1].numpy() / np.array(expected))) < 1e-4).mean() > 0.98


def test_a_first_pass_that_waits_for_settled_paths_is_the_final_one() -> None:
    waveform = torch.cat([tone(150, 0.4), NOISE, tone(230, 0.5)])
    online = {"frames_per_chunk": 10, "nccf_ballast_online": True}
    patient = Pitch(PitchConfig(**online, max_frames_latency=1000, simulate_first_pass_online=True))
    hasty = Pitch(PitchConfig(**online, simulate_first_pass_online=True))
    final = Pitch(PitchConfig(**online)).track([waveform])[0]
    assert torch.equal(patient.track([waveform])[0], final)
    assert not torch.equal(hasty.track([waveform])[0], final)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_f0": 500},
        {"soft_min_f0": 60},
        {"lowpass_cutoff": 3000},
        {"sample_frequency": 0},
        {"max_f0": 4000},
        {"frame_shift": 0.1},
        {"delta_pitch": 1e-6},
        {"penalty_factor": 0},
        {"delta_window": 0},
        {"preemphasis_coefficient": 2},
        {"simulate_first_pass_online": True},
        {"delay": -1},
        {"add_pov_feature": False, "add_normalized_log_pitch": False, "add_delta_pitch": False},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must|too high|at least"):
        PitchConfig(**settings)
