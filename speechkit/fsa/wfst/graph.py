"""The decoding graph: lexicon and grammar in one transducer, as one flat array that any process can map from disk.

It holds tokens, not frames: what a token's frames may look like (the topology) is applied by the decoder, so one graph
serves every topology and is a third of the size of the composed one, which `speechkit.fsa.wfst.compose` makes where
another decoder needs it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, read_json, write_json
from speechkit.fsa.wfst.openfst import EPSILON, Fst, Ints

Records = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
ARC = np.dtype([("target", "i4"), ("label", "i4"), ("word", "i4"), ("score", "f4")])
LABEL = (1 << 24) - 1
LEVEL_SHIFT, LEVELS = 24, 32
JOINED = 1 << 29
LAST = 1 << 30
FILE, ARRAY = "graph.json", "arcs.npy"
VERSION = 1


@dataclass(frozen=True)
class Topology:
    """What the frames of a token look like.

    Attributes:
        kind: "ctc" (blank 0; equal neighbours need a blank between them), "ctc-modified" (they need none) or "hmm" (no
            blank; the graph's tokens are the states of left-to-right models, each with a loop).
        loop: log-probability of staying in a token for another frame, of "hmm".
        forward: log-probability of leaving it.
    """

    kind: str = "ctc"
    loop: float = 0.0
    forward: float = 0.0

    @property
    def has_blank(self) -> bool:
        """Whether blanks may come between tokens."""
        return self.kind != "hmm"

    @property
    def parts_equal(self) -> bool:
        """Whether equal neighbours need a blank between them."""
        return self.kind == "ctc"


@dataclass(frozen=True)
class DecodingGraph:
    """Arcs state by state; a state is known by the place of its first arc, and place 0 starts.

    Attributes:
        arcs: record `(A,)` of `target` (the place of a state), `label`, `word` (0 for none) and natural-log `score`.
            A state's epsilons (back-off) come first, then the arcs that read a token, then its final score. The low 24
            bits of a label are token + 1, 0 for an epsilon, or `final_label`. An epsilon's bits from 24 on hold the
            longest way over epsilons from its source. Bit 29 says that the target can be entered by epsilons or with
            several tokens, or has epsilons; bit 30 marks the last arc of a state.
        tokens: symbols by id, the blank first.
        words: symbols by id, the first stands for none.
        topology: what the decoder adds.
    """

    arcs: Records
    tokens: tuple[str, ...]
    words: tuple[str, ...]
    topology: Topology = Topology()

    @property
    def num_arcs(self) -> int:
        """Number of arcs, final scores included."""
        return len(self.arcs)

    @property
    def final_label(self) -> int:
        """The label of final scores, which no token has."""
        return len(self.tokens) + 1

    @classmethod
    def from_fst(
        cls, fst: Fst, tokens: Sequence[str], words: Sequence[str], topology: Topology = Topology()
    ) -> "DecodingGraph":
        """Lay out a transducer whose input labels are 0 or token + 1, its states in depth-first order.

        Raises:
            SpeechkitError: there is no path, or a cycle of epsilons.
        """
        fst = _with_final_arcs(_depth_first(fst), len(tokens) + 1)
        is_epsilon, is_final = fst.ilabel == EPSILON, fst.ilabel == len(tokens) + 1
        label = fst.ilabel | (_levels(fst, is_epsilon)[fst.source] << LEVEL_SHIFT) * is_epsilon
        label |= np.where(_joined(fst, is_epsilon, is_final)[fst.destination], JOINED, 0)
        label[fst.arc_splits[1:] - 1] |= LAST
        arcs = np.zeros(fst.num_arcs, ARC)
        arcs["target"] = np.where(is_final, 0, fst.arc_splits[fst.destination])
        arcs["label"], arcs["word"], arcs["score"] = label, fst.olabel, -fst.cost
        arcs.setflags(write=False)  # as mapped arrays are: compiled code need not be compiled for both
        return cls(arcs, tuple(tokens), tuple(words), topology)

    def fst(self) -> Fst:
        """The same as a transducer."""
        label = self.arcs["label"] & LABEL
        begins = np.append(0, np.flatnonzero(self.arcs["label"] & LAST) + 1)
        state = np.repeat(np.arange(len(begins) - 1, dtype=np.int32), np.diff(begins))
        final = np.full(len(begins) - 1, np.inf, np.float32)
        is_final = label == self.final_label
        final[state[is_final]] = -self.arcs["score"][is_final]
        rest = self.arcs[~is_final]
        destination = np.searchsorted(begins, rest["target"])
        return Fst.from_arcs(0, state[~is_final], (label[~is_final], rest["word"], destination, -rest["score"]), final)

    def save(self, folder: Path) -> None:
        """Write `arcs.npy` and `graph.json`; the description comes last, so that an unfinished folder is not read."""
        (folder / FILE).unlink(missing_ok=True)
        with atomic_path(folder / ARRAY) as path, path.open("wb") as stream:
            np.save(stream, self.arcs, allow_pickle=False)
        description = {"version": VERSION, "num_arcs": self.num_arcs, "topology": asdict(self.topology)}
        write_json(folder / FILE, {**description, "tokens": list(self.tokens), "words": list(self.words)})

    @classmethod
    def load(cls, folder: Path) -> "DecodingGraph":
        """Map what `save` wrote; pages are read when they are needed, and shared by all processes."""
        if not (folder / FILE).is_file():
            raise SpeechkitError(f"{folder} is not a decoding graph ({FILE} is missing); run `speechkit graph`")
        description = read_json(folder / FILE)
        if description.get("version") != VERSION:
            raise SpeechkitError(f"{folder} was written by another version of speechkit; run `speechkit graph` again")
        try:
            arcs: Records = np.asarray(np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise SpeechkitError(f"{folder / ARRAY} cannot be read ({error}); run `speechkit graph` again") from error
        if arcs.dtype != ARC or len(arcs) != description["num_arcs"]:
            raise SpeechkitError(f"{folder / ARRAY} does not fit {FILE}; run `speechkit graph` again")
        topology = Topology(**description["topology"])
        return cls(arcs, tuple(description["tokens"]), tuple(description["words"]), topology)


def _depth_first(fst: Fst) -> Fst:
    """States renumbered in depth-first order from the start, so that a path's arcs lie together."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import depth_first_order

    if fst.num_states == 0 or fst.start < 0 or not np.isfinite(fst.final).any():
        raise SpeechkitError("the decoding graph has no path; do the lexicon and the language model share words?")
    shape = (fst.num_states, fst.num_states)
    links = csr_array((np.ones(fst.num_arcs, np.int8), fst.destination, fst.arc_splits), shape=shape)
    order = depth_first_order(links, fst.start, return_predecessors=False)
    number = np.full(fst.num_states, -1, np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    source = number[fst.source]
    kept = source >= 0
    columns = (fst.ilabel[kept], fst.olabel[kept], number[fst.destination[kept]], fst.cost[kept])
    return Fst.from_arcs(0, source[kept], columns, fst.final[order])


def _with_final_arcs(fst: Fst, label: int) -> Fst:
    """Final scores as arcs with `label`, after the state's others; epsilons come first.

    Raises:
        SpeechkitError: a state leads nowhere.
    """
    final = np.flatnonzero(np.isfinite(fst.final))
    source = np.concatenate([fst.source, final])
    ilabel = np.concatenate([fst.ilabel, np.full(len(final), label)])
    olabel = np.concatenate([fst.olabel, np.zeros(len(final), np.int32)])
    destination, cost = np.concatenate([fst.destination, final]), np.concatenate([fst.cost, fst.final[final]])
    order = np.argsort(np.where(ilabel == EPSILON, 0, np.where(ilabel == label, 2, 1)), kind="stable")
    if len(np.unique(source)) < fst.num_states:
        raise SpeechkitError("the decoding graph has states that lead nowhere; trim it (kaldifst.connect)")
    return Fst.from_arcs(0, source[order], (ilabel[order], olabel[order], destination[order], cost[order]), fst.final)


def _levels(fst: Fst, is_epsilon: Mask) -> Ints:
    """Longest way over epsilons from each state, found by as many rounds as the longest of all."""
    source, destination = fst.source[is_epsilon], fst.destination[is_epsilon]
    levels = np.zeros(fst.num_states, np.int32)
    for _ in range(LEVELS):
        longer = levels[destination] + 1 > levels[source]
        if not longer.any():
            return levels
        np.maximum.at(levels, source[longer], levels[destination[longer]] + 1)
    raise SpeechkitError(
        f"the decoding graph has {LEVELS} epsilons in a row, or a cycle of them; does the language model have loops?"
    )


def _joined(fst: Fst, is_epsilon: Mask, is_final: Mask) -> Mask:
    """States with epsilons, in or out, and those entered with several tokens; the start, entered with none, too."""
    reads = ~(is_epsilon | is_final)
    label, destination = fst.ilabel[reads], fst.destination[reads]
    least, most = np.full(fst.num_states, LABEL, np.int32), np.zeros(fst.num_states, np.int32)
    np.minimum.at(least, destination, label)
    np.maximum.at(most, destination, label)
    joined = most > least
    joined[fst.source[is_epsilon]] = True
    joined[fst.destination[is_epsilon]] = True
    joined[0] = True
    return joined
