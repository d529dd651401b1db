"""Draw pitch over the spectrogram of recordings, joined in the order given."""

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechkit.features.pitch import Pitch
from speechkit.features.pitch_config import PitchConfig
from speechkit.features.pitch_process import voicing_probability
from speechkit.features.spectrogram import Spectrogram, SpectrogramConfig

HIGHEST_HZ = 1000


def joined(paths: list[Path]) -> tuple[torch.Tensor, int]:
    """Samples of all recordings and their sampling rate."""
    parts, rates = zip(*(soundfile.read(str(path), dtype="float32", always_2d=True) for path in paths), strict=True)
    if len(set(rates)) != 1:
        raise SystemExit(f"the recordings have different sampling rates: {sorted(set(rates))}")
    return torch.from_numpy(np.concatenate([part.mean(axis=1) for part in parts])), rates[0]


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="PNG file")
    parser.add_argument("recordings", type=Path, nargs="+", help="WAV or FLAC files of one sampling rate")
    args = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    waveform, rate = joined(args.recordings)
    spectrum = Spectrogram(SpectrogramConfig(sampling_rate=rate, frame_length_ms=40)).extract(waveform).T
    nccf, hertz = Pitch(PitchConfig(sample_frequency=rate)).track([waveform])[0].T
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 4.5), sharex=True, height_ratios=(4, 1), layout="constrained"
    )
    seconds = len(waveform) / rate
    rows = round(len(spectrum) * HIGHEST_HZ / (rate / 2))
    levels = spectrum[1:rows]
    above.imshow(
        levels, aspect="auto", origin="lower", extent=(0, seconds, 0, HIGHEST_HZ), cmap="Greys",
        vmin=float(levels.quantile(0.3)), vmax=float(levels.max()),
    )  # fmt: skip
    times, voicing = 0.0125 + 0.01 * np.arange(len(hertz)), voicing_probability(nccf)
    points = above.scatter(times, hertz, c=voicing, s=8, cmap="cool", vmin=0, vmax=1)
    figure.colorbar(points, ax=above, label="probability of voicing")
    above.set_ylabel("Hz")
    below.plot(times, nccf, linewidth=0.8, color="black")
    below.set_ylabel("NCCF")
    below.set_xlabel("seconds")
    below.set_ylim(-1, 1.05)
    below.set_xlim(0, seconds)
    figure.savefig(args.out, dpi=100)


if __name__ == "__main__":
    main()
