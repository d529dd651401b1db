"""Transducers as arrays, and their exchange with kaldifst in OpenFst's binary format.

kaldifst hands out arcs one Python object at a time; a file of its own format, laid over a numpy array, holds all of
them at once. Costs are negative natural logs, as OpenFst has them (tropical semiring).
"""

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
EPSILON = 0
MAGIC = 2125659606
EXPANDED_MUTABLE = 3
STATE_WORDS, ARC_WORDS = 3, 4


@dataclass(frozen=True)
class Fst:
    """A weighted transducer whose arcs are sorted by source state; arcs `arc_splits[s]:arc_splits[s + 1]` leave `s`.

    Attributes:
        start: the start state.
        arc_splits: int64 `(S + 1,)`.
        ilabel, olabel, destination: int32 `(A,)`; label 0 is epsilon.
        cost: float32 `(A,)`.
        final: float32 `(S,)`, infinite where a state is not final.
    """

    start: int
    arc_splits: Longs
    ilabel: Ints
    olabel: Ints
    destination: Ints
    cost: Floats
    final: Floats

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.final)

    @property
    def num_arcs(self) -> int:
        """Number of arcs."""
        return len(self.ilabel)

    @property
    def source(self) -> Ints:
        """State each arc leaves, `(A,)`."""
        return np.repeat(np.arange(self.num_states, dtype=np.int32), np.diff(self.arc_splits))

    @classmethod
    def from_arcs(cls, start: int, source: Any, columns: tuple[Any, Any, Any, Any], final: Any) -> "Fst":
        """Build from arcs in any order, `columns` being ilabel, olabel, destination and cost."""
        source, final = np.asarray(source, np.int32), np.asarray(final, np.float32)
        order = np.argsort(source, kind="stable")
        splits = np.zeros(len(final) + 1, np.int64)
        np.cumsum(np.bincount(source, minlength=len(final)), out=splits[1:])
        ilabel, olabel, destination = (np.asarray(column, np.int32)[order] for column in columns[:3])
        return cls(start, splits, ilabel, olabel, destination, np.asarray(columns[3], np.float32)[order], final)


def kaldifst() -> Any:
    """The package, or one line that says how to get it."""
    try:
        return importlib.import_module("kaldifst")
    except ImportError as error:
        raise SpeechkitError(
            f"decoding graphs are compiled by kaldifst ({error}): `pip install kaldifst`, or decode with --decode beam"
        ) from error


def to_kaldifst(fst: Fst) -> Any:
    """A `kaldifst.StdVectorFst` of the same states and arcs."""
    module = kaldifst()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fst"
        write_fst(fst, path)
        return module.StdVectorFst.read(str(path))


def from_kaldifst(fst: Any) -> Fst:
    """The arrays of a `kaldifst.StdVectorFst`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fst"
        if not fst.write(str(path)):
            raise SpeechkitError(f"cannot write {path}: is the disk of temporary files full? (set TMPDIR to another)")
        return read_fst(path)


def write_fst(fst: Fst, path: Path) -> None:
    """Write in OpenFst's binary vector format (version 2, standard arcs), without symbol tables."""
    states, arcs = fst.num_states, fst.num_arcs
    header = np.int32(MAGIC).tobytes() + _text("vector") + _text("standard") + np.array([2, 0], np.int32).tobytes()
    header += np.array([EXPANDED_MUTABLE, fst.start, states, arcs], np.int64).tobytes()
    words = np.zeros(STATE_WORDS * states + ARC_WORDS * arcs, np.int32)
    heads = STATE_WORDS * np.arange(states) + ARC_WORDS * fst.arc_splits[:-1]
    words[heads] = fst.final.view(np.int32)
    words[heads + 1] = np.diff(fst.arc_splits)
    tails = STATE_WORDS * (fst.source.astype(np.int64) + 1) + ARC_WORDS * np.arange(arcs)
    for place, column in enumerate((fst.ilabel, fst.olabel, fst.cost.view(np.int32), fst.destination)):
        words[tails + place] = column
    with path.open("wb") as stream:
        stream.write(header)
        words.tofile(stream)


def read_fst(path: Path) -> Fst:
    """Read OpenFst's binary vector format; another format or a damaged file is a `SpeechkitError`."""
    content = path.read_bytes()
    expected = np.int32(MAGIC).tobytes() + _text("vector") + _text("standard") + np.array([2, 0], np.int32).tobytes()
    if content[: len(expected)] != expected:
        raise SpeechkitError(f"{path} is not an OpenFst vector transducer without symbol tables; compile it again")
    _, start, states, _ = np.frombuffer(content, np.int64, 4, len(expected)).tolist()  # the last is often 0 for unknown
    words = np.frombuffer(content[len(expected) + 32 :], np.int32)
    arcs = (len(words) - STATE_WORDS * states) // ARC_WORDS
    heads = _heads(words, states)
    splits = np.append((heads - STATE_WORDS * np.arange(states)) // ARC_WORDS, arcs)
    is_arc = np.ones(len(words), bool)
    for place in range(STATE_WORDS):
        is_arc[heads + place] = False
    columns = words[is_arc].reshape(-1, ARC_WORDS)
    ilabel, olabel, cost, destination = (np.ascontiguousarray(columns[:, place]) for place in range(ARC_WORDS))
    return Fst(start, splits, ilabel, olabel, destination, cost.view(np.float32), words[heads].view(np.float32))


def _heads(words: Ints, states: int) -> Longs:
    """Where each state begins: after its head come its arcs, then the next state."""
    heads = np.zeros(states, np.int64)
    place, view = 0, memoryview(words.data)
    for state in range(states):
        heads[state] = place
        place += STATE_WORDS + ARC_WORDS * view[place + 1]
    return heads


def _text(value: str) -> bytes:
    return bytes(np.int32(len(value)).tobytes()) + value.encode()
