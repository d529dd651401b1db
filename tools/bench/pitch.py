"""Kaldi's pitch of real recordings on one thread: speechkit against torchaudio 0.13.1, interleaved.

torchaudio's values are wrong and serve for timing only (on a clean sweep it is 20 % off); ours are first compared with
Kaldi's own, `pitch_reference.npz` in `$SPEECHKIT_REFERENCE`. Kaldi's C++ itself runs at about 19 times the speed of
torchaudio.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from fbank import joined
from timing import compare
from torchaudio_peer import TorchaudioPeer, find_library, remedy

from speechkit.features.pitch import Pitch
from speechkit.features.pitch_config import PitchConfig


def compare_with_kaldi(folder: Path) -> None:
    """Print how far we are from Kaldi's numbers for its default options."""
    if not (folder / "pitch_reference.npz").exists():
        raise SystemExit(f"no pitch_reference.npz in {folder}; set SPEECHKIT_REFERENCE")
    pitch, frames, differing, apart = Pitch(PitchConfig()), 0, 0, 0.0
    with np.load(folder / "pitch_reference.npz") as arrays:
        for key in (key for key in arrays.files if key.startswith("raw/default/")):
            waveform = torch.from_numpy(arrays[key.replace("raw/default", "wave")]).float() / 32768
            ours, kaldi = pitch.track([waveform])[0].numpy(), arrays[key]
            if len(ours) != len(kaldi):
                raise SystemExit(f"{key}: {len(ours)} frames, Kaldi has {len(kaldi)}")
            if len(kaldi):
                same = np.abs(np.log(ours[:, 1] / kaldi[:, 1])) < 1e-3
                frames, differing = frames + len(same), differing + int((~same).sum())
                apart = max(apart, float(np.abs(ours - kaldi)[same, 0].max()))
    print(f"{frames} frames: {differing} pitches differ from Kaldi's; the NCCF of the others by at most {apart:.1e}")
    if differing > 0.001 * frames or apart > 1e-3:
        raise SystemExit("the results are wrong; times would mean nothing")


def main() -> None:
    """Print times, real-time factors and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of .wav or .flac recordings")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    library = find_library()
    if library is None:
        raise SystemExit(remedy())
    torch.set_num_threads(1)
    default = Path(__file__).resolve().parents[3] / "shared" / "reference"
    compare_with_kaldi(Path(os.environ.get("SPEECHKIT_REFERENCE", default)))
    waveforms = joined(args.folder, args.minutes)
    seconds, pitch = sum(map(len, waveforms)) / 16000, Pitch(PitchConfig())
    print(f"{len(waveforms)} waveforms, {seconds:.0f} s, 1 thread")
    peer = TorchaudioPeer(library, waveforms)
    assert peer.run() == [len(raw) for raw in pitch.track(waveforms)]
    candidates = {
        "torchaudio 0.13.1": peer.run,
        "speechkit": lambda: pitch.track(waveforms),
        "speechkit, post-processed": lambda: [pitch.extract(waveform) for waveform in waveforms],
    }
    medians = compare(candidates, args.repeats)
    peer.close()
    for name, median in medians.items():
        print(f"{name}: real-time factor {median / seconds:.2e}, {seconds / median:.0f} times real time")
    ours = medians["speechkit"]
    times = {"real_time_factor": ours / seconds, "times_real_time": seconds / ours}
    print(json.dumps({"ratio": medians["torchaudio 0.13.1"] / ours, **times}))


if __name__ == "__main__":
    main()
