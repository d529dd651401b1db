"""Pitch by torchaudio 0.13.1, the last that has it, as a process that does its work whenever it is asked.

As a module, `TorchaudioPeer` starts it; as a program, run by a Python that has torch 1.13.1, it serves. The wheel is
for Python 3.10 at most, but only its library of operators is used, which any Python's torch 1.13.1 can load; so it lies
beside k2's packages in the environment that `tools/install_k2.sh` makes, which has that torch.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WHEEL = "torchaudio==0.13.1"


def environment() -> Path:
    """The environment with torch 1.13.1."""
    return Path(os.environ.get("SPEECHKIT_K2_VENV") or Path(__file__).resolve().parents[1] / "venv-k2")


def find_library() -> Path | None:
    """torchaudio's operators, None where they are not installed."""
    library = environment() / WHEEL.replace("==", "-") / "torchaudio" / "lib" / "libtorchaudio.so"
    return library if library.exists() else None


def remedy() -> str:
    """How to get them."""
    pip, folder = environment() / "bin" / "pip", environment() / WHEEL.replace("==", "-")
    return (
        f"no {WHEEL}; run tools/install_k2.sh, then {pip} install --no-deps --target {folder} "
        f"--python-version 3.10 --only-binary=:all: {WHEEL}"
    )


class TorchaudioPeer:
    """A process that has waveforms in memory and tracks their pitch with Kaldi's default options."""

    def __init__(self, library: Path, waveforms: Sequence[Any]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        data = Path(self.folder.name) / "waveforms.npz"
        np.savez(data, *[np.asarray(waveform) for waveform in waveforms])
        command = [str(environment() / "bin" / "python"), str(Path(__file__).resolve()), str(library), str(data)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> Any:
        """The next line of the process."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"torchaudio's process ended with {self.process.wait()}")
        return json.loads(line)

    def run(self) -> list[int]:
        """Track all waveforms; returns the frames of each."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        frames: list[int] = self.answer()
        return frames

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


def serve(library: str, data: str) -> None:
    """Answer requests until there are none."""
    import torch

    torch.set_num_threads(1)
    torch.ops.load_library(library)
    compute = torch.ops.torchaudio.kaldi_ComputeKaldiPitch
    with np.load(data) as arrays:
        waveforms = [torch.from_numpy(arrays[name])[None] * 32768 for name in arrays.files]
    frequencies = (16000, 25.0, 10.0, 50.0, 400.0, 10.0, 0.1, 1000, 4000, 0.005, 7000)
    print(json.dumps([]), flush=True)
    for _ in sys.stdin:
        found = [compute(waveform, *frequencies, 1, 5, 0, 0, False, 500, True) for waveform in waveforms]
        print(json.dumps([result.shape[1] for result in found]), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
