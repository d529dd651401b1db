"""k2 in an environment of its own, as a process that does a job whenever it is asked.

As a module, `K2Peer` starts it; as a program, run by the Python that has k2, it serves: one line for each request (the
output beam of the intersection), one line of JSON for each answer. It imports nothing of speechkit.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from peak import Peak

EXACT = 1e8


def find_k2() -> Path | None:
    """The Python that has k2: of `$SPEECHKIT_K2_VENV` or `tools/venv-k2`."""
    folder = os.environ.get("SPEECHKIT_K2_VENV") or Path(__file__).resolve().parents[1] / "venv-k2"
    python = Path(folder) / "bin" / "python"
    if not python.exists():
        return None
    done = subprocess.run([python, "-c", "import k2"], capture_output=True, check=False)
    return python if done.returncode == 0 else None


class K2Peer:
    """A process with k2 that has a job's data in memory.

    Jobs: "ctc" (loss and gradient on CTC graphs that it makes), "graph" (the same on one graph that all utterances
    share), "align" (CTC graphs, intersection, best path).
    """

    def __init__(self, python: Path, job: str, arrays: Mapping[str, Any], threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.data, self.results = Path(self.folder.name) / "data.npz", Path(self.folder.name) / "results.npz"
        np.savez(self.data, **arrays)
        command = [str(python), str(Path(__file__).resolve()), job, str(self.data), str(self.results), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line of the process."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"k2 ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, beam: float = EXACT) -> dict[str, Any]:
        """Do the job once; "peak" is its memory over what the process had before."""
        assert self.process.stdin is not None
        print(beam, file=self.process.stdin, flush=True)
        return self.answer()

    def outcome(self) -> dict[str, Any]:
        """What an exact run found: totals and gradient, or labels and scores."""
        assert self.process.stdin is not None
        print("save", file=self.process.stdin, flush=True)
        self.answer()
        with np.load(self.results) as arrays:
            return dict(arrays)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


class Jobs:
    """What the process does; utterances are all of one length."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        import k2
        import torch

        self.k2, self.torch = k2, torch
        self.log_probs = torch.from_numpy(data["log_probs"]).requires_grad_()
        number, frames, _ = self.log_probs.shape
        self.segments = torch.tensor([[row, 0, frames] for row in range(number)], dtype=torch.int32)
        self.targets = data["targets"].tolist() if "targets" in data else []
        if "arcs" in data:
            arcs = torch.from_numpy(data["arcs"]).int()
            scores = torch.from_numpy(data["scores"]).float()
            fsa = k2.arc_sort(k2.Fsa(torch.cat([arcs, scores.view(torch.int32)[:, None]], 1)))
            self.shared = k2.create_fsa_vec([fsa] * number)

    def lattice(self, graphs: Any, beam: float) -> Any:
        """Intersect with the log-probabilities."""
        dense = self.k2.DenseFsaVec(self.log_probs, self.segments)
        return self.k2.intersect_dense(graphs, dense, output_beam=beam, max_states=1 << 30, max_arcs=1 << 30)

    def loss(self, graphs: Any, beam: float) -> dict[str, Any]:
        """Total scores and their gradient."""
        self.log_probs.grad = None
        totals = self.lattice(graphs, beam).get_tot_scores(use_double_scores=True, log_semiring=True)
        totals.sum().backward()
        return {"totals": totals.detach().numpy(), "gradient": self.log_probs.grad.numpy()}

    def ctc(self, beam: float) -> dict[str, Any]:
        """CTC loss."""
        return self.loss(self.k2.ctc_graph(self.targets, modified=False), beam)

    def graph(self, beam: float) -> dict[str, Any]:
        """Loss on the shared graph."""
        return self.loss(self.shared, beam)

    def align(self, beam: float) -> dict[str, Any]:
        """Best paths, of which each has one label per frame and the -1 at its end."""
        with self.torch.no_grad():
            lattice = self.lattice(self.k2.ctc_graph(self.targets, modified=False), beam)
            best = self.k2.shortest_path(lattice, use_double_scores=True)
            labels = best.labels.reshape(len(self.targets), -1)[:, :-1]
            return {"labels": labels.numpy(), "totals": best.get_tot_scores(True, False).numpy()}


def serve(job: str, data: str, results: str, threads: str) -> None:
    """Answer requests until there are none."""
    import torch

    torch.set_num_threads(int(threads))
    with np.load(data) as arrays:
        jobs = Jobs(dict(arrays))
    run = getattr(jobs, job)
    peak = Peak()
    print(json.dumps({}), flush=True)
    found: dict[str, Any] = {}
    for line in sys.stdin:
        if line.strip() == "save":
            np.savez(results, **found)
            print(json.dumps({}), flush=True)
            continue
        found = run(float(line))
        print(json.dumps({"total": float(found["totals"].sum()), "peak": peak.megabytes()}), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
