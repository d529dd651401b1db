"""Compilation: min(det(L o G)) through OpenFst, disambiguation symbols removed, laid out for decoders."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.guard import Limits, check_arcs, human_bytes, run_limited
from speechkit.fsa.wfst.grammar import Levels, grammar_fst
from speechkit.fsa.wfst.graph import DecodingGraph, Topology
from speechkit.fsa.wfst.lexicon import Entry, Silence, lexicon_fst
from speechkit.fsa.wfst.openfst import EPSILON, Fst, Longs, from_kaldifst, kaldifst, to_kaldifst

log = logging.getLogger(__name__)
NO_WORD = "<eps>"
# Measured on a lexicon of 5,000 words and 400,000 n-grams, where minimisation was the peak.
BYTES_PER_ARC = 200
EXACT = 1e-6  # weights are not rounded for the sake of a smaller graph
REMEDY = "prune the language model, take a smaller lexicon, or decode with --decode beam"


@dataclass(frozen=True)
class CompileLimits:
    """What composition, determinisation and minimisation together may take: seconds, and bytes of memory."""

    seconds: float = 3600.0
    memory: int = field(default_factory=lambda: int(0.8 * available_memory()))


def available_memory() -> int:
    """Bytes that new programs may take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = dict(line.split(":") for line in lines)
    return int(sizes["MemAvailable"].split()[0]) << 10


CTC = Topology()


def compile_graph(
    entries: Sequence[tuple[str, Sequence[int]]],
    levels: Levels,
    tokens: Sequence[str],
    *,
    topology: Topology = CTC,
    silence: Silence | None = None,
    limits: CompileLimits | None = None,
) -> DecodingGraph:
    """Make a decoding graph from a lexicon and an n-gram model.

    Args:
        entries: (word, token ids) pairs; a word may come several times, words may share spellings.
        levels: the n-gram model: for each length a map from n-gram to (log10 probability, log10 backoff weight).
        tokens: symbols by id, the blank first where the topology has one.
        silence: a token that may come between words, at a cost; CTC has its blank for that.
        limits: of the compilation; an hour and four fifths of the memory that is free, if not given.

    Raises:
        SpeechkitError: lexicon and model share no words, the graph takes more than `limits`, or kaldifst is missing.
    """
    started, limits = time.monotonic(), limits or CompileLimits()
    words = [NO_WORD, *dict.fromkeys(word for word, _ in entries)]
    numbers = {word: number for number, word in enumerate(words)}
    lexicon, disambiguations = lexicon_fst(
        [(numbers[word], spelling) for word, spelling in entries], len(tokens), len(words) - 1, silence
    )
    grammar = grammar_fst(levels, {word: number for word, number in numbers.items() if number}, len(words))
    log.info(
        "lexicon: %d words, %d disambiguation symbols; grammar: %d states, %d arcs",
        len(words) - 1, disambiguations, grammar.num_states, grammar.num_arcs,
    )  # fmt: skip
    _check_size(lexicon_lengths(numbers, entries), grammar, limits)
    limited = Limits("compiling the decoding graph", REMEDY, limits.seconds, limits.memory)
    found = run_limited(limited, determinised, lexicon, grammar)
    label = np.where(found.ilabel > len(tokens), EPSILON, found.ilabel)
    graph = DecodingGraph.from_fst(replace(found, ilabel=label), tokens, words, topology)
    log.info(
        "decoding graph: %d states, %d arcs, %s, made in %.1f s",
        found.num_states, graph.num_arcs, human_bytes(graph.arcs.nbytes), time.monotonic() - started,
    )  # fmt: skip
    return graph


def determinised(lexicon: Fst, grammar: Fst) -> Fst:
    """min(det(L o G)); in the tropical semiring, so that multiplying all weights afterwards is the same as before."""
    module = kaldifst()
    left, right = to_kaldifst(lexicon), to_kaldifst(grammar)
    module.arcsort(left, "olabel")
    module.arcsort(right, "ilabel")
    composed = module.compose(left, right)
    if module.determinize_star(composed):
        raise SpeechkitError("the decoding graph could not be determinised; are disambiguation symbols missing?")
    module.minimize_encoded(composed, EXACT)
    return from_kaldifst(composed)


def lexicon_lengths(numbers: dict[str, int], entries: Sequence[tuple[str, Sequence[int]]]) -> Longs:
    """Tokens of all spellings of each word together, with one disambiguation symbol each, by word number."""
    lengths = np.zeros(len(numbers), np.int64)
    for word, spelling in entries:
        lengths[numbers[word]] += len(spelling) + 1
    return lengths


def _check_size(lengths: Longs, grammar: Fst, limits: CompileLimits) -> None:
    """Print what L o G will have at most, and refuse what cannot fit into memory."""
    labels = grammar.ilabel[grammar.ilabel < len(lengths)]
    arcs = int(lengths[labels].sum()) + grammar.num_arcs - len(labels)
    log.info("composed: at most %d arcs, about %s to compile", arcs, human_bytes(arcs * BYTES_PER_ARC))
    check_arcs(arcs, limits.memory // BYTES_PER_ARC, "lexicon and grammar, composed", REMEDY)


def spelled_in_states(entries: Sequence[Entry], num_states: int) -> list[Entry]:
    """Entries spelled in units, spelled in the states of their hidden Markov models: `unit * num_states + state`."""
    return [
        (word, [unit * num_states + state for unit in spelling for state in range(num_states)])
        for word, spelling in entries
    ]
