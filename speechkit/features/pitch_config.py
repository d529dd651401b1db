"""The settings of Kaldi's pitch extractor, under Kaldi's names, and what follows from them by arithmetic."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class PitchConfig:
    """Options of `compute-and-process-kaldi-pitch-feats`, `-` written as `_`, with Kaldi's defaults.

    Frequencies are in Hz, `frame_length` and `frame_shift` in milliseconds, contexts and delays in frames. The first
    group is for the tracker, the second for what is made of its output. `delta_pitch_noise_stddev` adds random noise: 0
    makes the features a function of the signal alone.
    """

    sample_frequency: float = 16000.0
    frame_length: float = 25.0
    frame_shift: float = 10.0
    preemphasis_coefficient: float = 0.0
    min_f0: float = 50.0
    max_f0: float = 400.0
    soft_min_f0: float = 10.0
    penalty_factor: float = 0.1
    lowpass_cutoff: float = 1000.0
    resample_frequency: float = 4000.0
    delta_pitch: float = 0.005
    nccf_ballast: float = 7000.0
    nccf_ballast_online: bool = False
    lowpass_filter_width: int = 1
    upsample_filter_width: int = 5
    max_frames_latency: int = 0
    frames_per_chunk: int = 0
    simulate_first_pass_online: bool = False
    recompute_frame: int = 500
    snip_edges: bool = True

    pitch_scale: float = 2.0
    pov_scale: float = 2.0
    pov_offset: float = 0.0
    delta_pitch_scale: float = 10.0
    delta_pitch_noise_stddev: float = 0.005
    normalization_left_context: int = 75
    normalization_right_context: int = 75
    delta_window: int = 2
    delay: int = 0
    add_pov_feature: bool = True
    add_normalized_log_pitch: bool = True
    add_delta_pitch: bool = True
    add_raw_log_pitch: bool = False

    def __post_init__(self) -> None:
        self._check_signal()
        self._check_track()
        if self.num_features == 0:
            raise ValueError("at least one of the add_... features must be on")

    def _check_signal(self) -> None:
        rates = (self.sample_frequency, self.resample_frequency)
        if any(rate <= 0 or rate != int(rate) for rate in rates):
            raise ValueError("sample_frequency and resample_frequency must be whole positive numbers")
        if not 0 < 2 * self.lowpass_cutoff <= min(rates):
            raise ValueError("lowpass_cutoff must be positive and at most half of both frequencies")
        if self.lowpass_filter_width < 1 or self.upsample_filter_width < 1 or self.delta_window < 1:
            raise ValueError("filter widths and delta_window must be at least 1")
        if self.window_shift < 1 or self.window_length < 2 or self.delta_pitch <= 0:
            raise ValueError("frame_length, frame_shift and delta_pitch must be positive")
        contexts = self.normalization_left_context, self.normalization_right_context, self.delay
        if min(*contexts, self.frames_per_chunk, self.max_frames_latency, self.recompute_frame) < 0:
            raise ValueError("contexts, delay and numbers of frames must be at least 0")

    def _check_track(self) -> None:
        if not 0 < self.min_f0 < self.max_f0 or self.soft_min_f0 > self.min_f0:
            raise ValueError("min_f0 must lie between soft_min_f0 and max_f0, and above 0")
        if self.first_lag < 0:
            raise ValueError(f"max_f0={self.max_f0:g} is too high for this resample_frequency")
        if math.log(self.max_f0 / self.min_f0) > 32000 * math.log1p(self.delta_pitch):
            raise ValueError("delta_pitch must not be so small: there would be more than 32000 lags")
        if not 0 <= self.preemphasis_coefficient <= 1 or self.penalty_factor <= 0 or self.nccf_ballast < 0:
            raise ValueError("preemphasis_coefficient must be 0 to 1, penalty_factor above 0, nccf_ballast at least 0")
        if self.simulate_first_pass_online and self.frames_per_chunk < 1:
            raise ValueError("simulate_first_pass_online needs frames_per_chunk of at least 1")

    @property
    def window_length(self) -> int:
        """Samples of the basic window, at the lower rate."""
        return int(self.resample_frequency * self.frame_length / 1000)

    @property
    def window_shift(self) -> int:
        """Samples from one frame to the next, at the lower rate."""
        return int(self.resample_frequency * self.frame_shift / 1000)

    @property
    def first_lag(self) -> int:
        """The smallest lag, in samples of the lower rate, at which the signal is correlated with itself."""
        return math.ceil(self.resample_frequency * (1 / self.max_f0 - self._half_width))

    @property
    def last_lag(self) -> int:
        """The largest lag."""
        return math.floor(self.resample_frequency * (1 / self.min_f0 + self._half_width))

    @property
    def _half_width(self) -> float:
        return self.upsample_filter_width / (2 * self.resample_frequency)

    @property
    def full_length(self) -> int:
        """Samples of the window together with the largest lag."""
        return self.window_length + self.last_lag

    @property
    def first_start(self) -> int:
        """Where the first window starts; before the signal without `snip_edges`."""
        return 0 if self.snip_edges else self.window_shift // 2 - self.full_length // 2

    @property
    def num_features(self) -> int:
        """Columns of the features."""
        return sum((self.add_pov_feature, self.add_normalized_log_pitch, self.add_delta_pitch, self.add_raw_log_pitch))

    def num_frames(self, num_samples: int) -> int:
        """Frames of a signal of `num_samples` at `sample_frequency`."""
        return self.frames_available(self.samples_available(num_samples, finished=True), finished=True)

    def samples_available(self, num_samples: int, finished: bool) -> int:
        """Samples at the lower rate from `num_samples`; the filter holds some back unless the signal is finished."""
        into, out = int(self.sample_frequency), int(self.resample_frequency)
        ticks = math.lcm(into, out)
        length = num_samples * (ticks // into)
        if not finished:
            length -= math.floor(self.lowpass_filter_width / (2 * self.lowpass_cutoff) * ticks + 1e-6)
        return max(0, -(-length // (ticks // out)))

    def frames_available(self, samples: int, finished: bool) -> int:
        """Frames that `samples` at the lower rate give: a window needs its lags too, unless the signal is finished."""
        needed = self.window_length if finished else self.full_length
        if samples < needed:
            return 0
        if self.snip_edges:
            return (samples - needed) // self.window_shift + 1
        return int((samples if finished else samples - needed // 2) / self.window_shift + 0.5)


@dataclass(frozen=True)
class Chunk:
    """What the tracker knows when a part of the signal has come: totals of samples at the lower rate and of frames."""

    samples: int
    frames: int
