"""Checkpoints of strangers: tensors and settings come out, foreign code does not run."""

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import classes_elsewhere, holding, save_fairseq

from speechkit.common.errors import SpeechkitError
from speechkit.interop.unpickle import fields, load_torch


class Call:
    """Pickled, it asks for a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_nothing_of_a_malicious_file_runs(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "x.pt", tmp_path / "trace"
    evil = [
        Call(os.system, f"touch {trace}"),
        Call(eval, f"open({str(trace)!r}, 'w')"),
        Call(exec, f"open({str(trace)!r}, 'w')"),
        Call(getattr, Path(trace), "touch"),
        Call(Path, str(trace)),
        Call(open, str(trace), "w"),
    ]
    torch.save(
        {"model": {"w": torch.arange(6.0).view(2, 3)}, "evil": evil}, path, _use_new_zipfile_serialization=zipped
    )
    found = load_torch(path)
    assert torch.equal(found["model"]["w"], torch.arange(6.0).view(2, 3))
    assert found["evil"][0].arguments == (f"touch {trace}",)
    assert not trace.exists()


def test_a_plain_pickle_does_not_run_either(tmp_path: Path) -> None:
    path, trace = tmp_path / "x.pt", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Call(os.system, f"touch {trace}")))
    with pytest.raises(SpeechkitError, match="no file of torch.save"):
        load_torch(path)
    assert not trace.exists()


def test_what_a_pickle_does_to_its_functions_stays_without_effect(tmp_path: Path) -> None:
    """A pickle may set attributes of the functions that it names; those of torch stay as they are."""
    state = (None, {"__defaults__": (1, 2, 3), "__kwdefaults__": {"a": 1}})
    body = pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n" + pickle.dumps(state, protocol=2)[2:-1] + pickle.BUILD
    defaults = torch._utils._rebuild_tensor_v2.__defaults__
    (tmp_path / "x.pt").write_bytes(pickle.PROTO + b"\x02" + body + pickle.STOP)
    with pytest.raises(SpeechkitError):
        load_torch(tmp_path / "x.pt")
    assert torch._utils._rebuild_tensor_v2.__defaults__ == defaults
    torch.save(torch.ones(2), tmp_path / "y.pt")
    assert torch.equal(load_torch(tmp_path / "y.pt"), torch.ones(2))


def test_programs_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.jit.save(torch.jit.script(nn := torch.nn.Linear(2, 2)), str(path))
    with pytest.raises(SpeechkitError, match="TorchScript"):
        load_torch(path)
    torch.save(nn.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpeechkitError, match="damaged"):
        load_torch(path)
    with pytest.raises(SpeechkitError, match="does not exist"):
        load_torch(tmp_path / "none.pt")


def test_tensors_come_out_as_they_went_in(tmp_path: Path) -> None:
    shared = torch.randn(4, 5)
    state = OrderedDict(
        half=torch.randn(3).half(), bf=torch.randn(2).bfloat16(), whole=torch.tensor([1, 2]), scalar=torch.tensor(2.5),
        turned=shared.T, part=shared[1:3], parameter=torch.nn.Parameter(torch.ones(2)), none=torch.zeros(0, 3),
    )  # fmt: skip
    torch.save({"state": state, "size": torch.Size([1, 2]), "kind": torch.float16}, tmp_path / "x.pt")
    found = load_torch(tmp_path / "x.pt")
    assert list(found["state"]) == list(state)
    for name, each in state.items():
        assert torch.equal(found["state"][name], each), name
        assert found["state"][name].dtype == each.dtype
    assert found["kind"] is torch.float16


def test_settings_of_argparse_omegaconf_and_unknown_classes(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    cfg = {"model": {"_name": "wav2vec2", "inner": {"heads": 4}}, "task": {"normalize": True}}
    save_fairseq(path, {}, cfg, ["<s>", "a"])
    found = load_torch(path)
    model = fields(fields(found["cfg"])["model"])
    assert model["_name"] == "wav2vec2"
    assert fields(model["inner"]) == {"heads": 4}
    assert fields(fields(found["task_state"])["target_dictionary"])["symbols"] == ["<s>", "a"]
    with classes_elsewhere("fairseq.dataclass.Choice") as (choice,):
        choice.__reduce__ = lambda self: (choice, ("layer_norm",))  # type: ignore[assignment]
        choice.__init__ = lambda self, *value: None  # type: ignore[assignment]
        torch.save(argparse.Namespace(mode=choice(), plain=holding(argparse.Namespace, a=1)), path)
    settings = fields(load_torch(path))
    assert settings["mode"] == "layer_norm"
    assert fields(settings["plain"]) == {"a": 1}
    assert fields(None) == {}
