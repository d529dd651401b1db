"""Checkpoints: safetensors for weights and optimiser state, JSON for the rest, each folder whole or absent."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import disk_errors, read_json

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
TASK = "task.json"  # what a model is, beside its weights
NAME = re.compile(r"update-(\d{8})")


def save_folder(folder: Path, tensors: dict[str, dict[str, Tensor]], documents: dict[str, Any]) -> None:
    """Write tensor files and JSON documents (by file name) to a temporary folder and rename it to `folder`."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            for name, group in tensors.items():
                _save_tensors(
                    {key: value.detach().cpu().contiguous() for key, value in group.items()}, temporary / name
                )
            for name, document in documents.items():
                (temporary / name).write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # safetensors reports a full disk in its own words, without an errno
        raise SpeechkitError(
            f"cannot write {path} ({error}); free some space and run the same command again"
        ) from error


def read_document(folder: Path, task: str, complaint: str) -> dict[str, Any]:
    """What `save_folder` wrote beside the weights of a model of one task.

    Raises:
        SpeechkitError: the folder holds no such model; `complaint` follows its name and says what writes one.
    """
    document: dict[str, Any] = read_json(folder / TASK) if (folder / TASK).is_file() else {}
    if document.get("task") != task:
        raise SpeechkitError(f"{folder} {complaint}")
    return document


def load_module(module: nn.Module, path: Path) -> None:
    """Fill a module that was built as the documents beside `path` say; other tensors are a `SpeechkitError`."""
    try:
        module.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        problem = str(error).splitlines()[0]
        raise SpeechkitError(f"{path} does not fit the documents beside it; train again ({problem})") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU; a damaged or missing one is a `SpeechkitError`."""
    if not path.is_file():
        raise SpeechkitError(f"{path} does not exist; train the model first, or correct --checkpoint")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise SpeechkitError(
            f"{path} is damaged ({error}); delete its folder and resume from an earlier checkpoint"
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments by `<parameter index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, moments in state.items() for name, value in moments.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class CheckpointFolder:
    """The checkpoints of one training, `update-00000400` and so on, newest last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, update: int) -> Path:
        """Folder of the checkpoint after `update` updates."""
        return self.folder / f"update-{update:08d}"

    def updates(self) -> list[int]:
        """Update numbers of the whole checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for item in self.folder.iterdir() if (match := NAME.fullmatch(item.name)))

    def save(self, update: int, model: dict[str, Tensor], optimizer: dict[str, Tensor], state: Any) -> None:
        """Write one checkpoint."""
        save_folder(self.path(update), {MODEL: model, OPTIMIZER: optimizer}, {STATE: state})

    def keep(self, wanted: set[int]) -> None:
        """Delete all but the newest and the `wanted` ones, of which only weights stay."""
        *older, _ = self.updates() or [0]
        for update in older:
            if update in wanted:
                (self.path(update) / OPTIMIZER).unlink(missing_ok=True)
            else:
                shutil.rmtree(self.path(update))

    def load(self, update: int) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """Weights, optimiser tensors and state of one checkpoint."""
        path = self.path(update)
        return load_tensors(path / MODEL), load_tensors(path / OPTIMIZER), read_json(path / STATE)

    def average(self, updates: list[int]) -> dict[str, Tensor]:
        """Mean of the weights of several checkpoints."""
        total: dict[str, Tensor] = {}
        for update in updates:
            for name, value in load_tensors(self.path(update) / MODEL).items():
                total[name] = total[name] + value.double() if name in total else value.double()
        dtypes = {name: value.dtype for name, value in load_tensors(self.path(updates[0]) / MODEL).items()}
        return {name: (value / len(updates)).to(dtypes[name]) for name, value in total.items()}
