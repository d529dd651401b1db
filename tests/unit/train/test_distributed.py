"""Two processes learn what one does: the same gradients, whatever parts of a model an update leaves out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from two_processes import CASES, batches, certain, gradients, joined

from speechkit.train.distributed import World

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gradients of two processes that communicate by gloo."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(HERE / "two_processes.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To 1e-5 of each parameter's gradient."""
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name


@pytest.mark.parametrize(("name", "random"), CASES)
def test_two_processes_are_one_that_accumulates(of_two: Path, tmp_path: Path, name: str, random: bool) -> None:
    """All terms of the losses, with dropout, dropped blocks, noise, masks and negatives drawn per batch."""
    with pytest.MonkeyPatch.context() as patch:
        if not random:
            patch.setattr(F, "gumbel_softmax", certain)
        expected = gradients(name, random, batches(), tmp_path, World())
    assert_equal(torch.load(of_two / f"{name}-{random}.pt"), expected)
    if name == "head":
        assert sorted(expected) == ["output.bias", "output.weight"]
    assert any("heads.1" in each for each in expected) == (name == "hubert")


@pytest.mark.parametrize("name", ["wav2vec2", "hubert"])
def test_two_processes_are_one_with_the_batches_joined(
    of_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With masks and negatives given and nothing random. The diversity is left out: it is of one process's batch."""
    monkeypatch.setattr(F, "gumbel_softmax", certain)
    expected = gradients(name, False, [joined(batches())], tmp_path, World())
    assert_equal(torch.load(of_two / f"{name}-False.pt"), expected)
