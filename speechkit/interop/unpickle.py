"""PyTorch files of strangers: tensors and plain data come out, and no code of theirs runs.

A pickle names functions and classes, which the reader then imports and calls. Here only those that rebuild tensors are
what they are called; any other name becomes a class that keeps what it is given and does nothing. So a checkpoint of
fairseq, full of its settings and dictionaries, is read without fairseq, and a malicious one does no harm.
"""

import pickle
import tarfile
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file


class Inert:
    """An object of a class that is not trusted: what it was made with, and what it was given afterwards.

    Attributes:
        arguments: of its creation.
        state: what stood for its attributes.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> "Inert":
        made = object.__new__(cls)
        made.arguments, made.state = (*arguments, *named.values()), None
        return made

    arguments: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *arguments: Any) -> "Inert":
        return Inert(self, *arguments)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Items of a dictionary of its own kind are dropped, as are those of lists and sets."""

    def append(self, value: Any) -> None:
        """See `__setitem__`."""

    def extend(self, values: Any) -> None:
        """See `__setitem__`."""

    def add(self, value: Any) -> None:
        """See `__setitem__`."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call: the makers of tensors, and inert classes for all other names."""
        if (module, name) in _TRUSTED:
            return _TRUSTED[module, name]
        if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
            return kind
        return type(name, (Inert,), {"__module__": module})


def _forwarding(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind one that a pickle may disfigure (it can set attributes of what it names)."""
    return lambda *arguments: function(*arguments)


_TRUSTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _forwarding(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _forwarding(torch._utils._rebuild_parameter),
    ("torch", "Size"): torch.Size,
}


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def load_torch(path: Path) -> Any:
    """Read a file of `torch.save`, tensors to the CPU; see `fields` for objects of other classes.

    Raises:
        SpeechkitError: it is missing, damaged, or no such file.
    """
    require_file(path, "correct --in")
    module = types.SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__=__name__)
    try:
        if not _holds_code(path):
            return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except Exception as error:  # whatever the bytes of a stranger set off
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpeechkitError(f"{path} is damaged, or no file of torch.save ({reason}); fetch it again") from error
    raise SpeechkitError(f"{path} holds a program (TorchScript), or is of before 2018; save its state dict instead")


def _holds_code(path: Path) -> bool:
    """Whether torch would read the file in another way than by the given unpickler."""
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        return "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records()
    return tarfile.is_tarfile(path)


def fields(value: Any) -> Mapping[str, Any]:
    """The attributes or items of a settings object, whether a dictionary, argparse's or OmegaConf's; {} if none."""
    if isinstance(value, Inert):
        value = value.state
    if isinstance(value, Mapping) and "_content" in value and "_metadata" in value:  # a node of OmegaConf
        value = value["_content"]
    if not isinstance(value, Mapping):
        return {}
    return {str(name): _unwrapped(each) for name, each in value.items()}


def _unwrapped(value: Any) -> Any:
    """A value without the node of OmegaConf, or the enumeration, around it."""
    if isinstance(value, Inert) and isinstance(value.state, Mapping) and "_val" in value.state:
        value = value.state["_val"]
    if isinstance(value, Inert) and value.state is None and len(value.arguments) == 1:
        return value.arguments[0]
    return value
