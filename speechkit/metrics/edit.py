"""Edit distance and alignments of many pairs of sequences at once.

All pairs of a batch go together through the dynamic programme, one anti-diagonal of the cost matrix after the other,
so the work is a few numpy operations per diagonal. A cost counts errors first and substitutions second
(`errors * scale + substitutions`): of all alignments with the fewest errors those with the fewest substitutions, that
is with the most correct words, win, the choice that sclite's weights (substitution 4, insertion and deletion 3) make
among them. Hence the three counts of a pair are determined, whatever alignment has them.
"""

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Items = Sequence[Hashable]
Pair = tuple[Any, Any]
MATCH_OR_SUBSTITUTION, DELETION, INSERTION = 0, 1, 2
CELLS_PER_BATCH = 1 << 24


class Batch(NamedTuple):
    """Pairs of similar length: their places in the corpus, items (position, pair) with hypotheses reversed, lengths."""

    places: NDArray[np.int64]
    references: NDArray[np.int32]
    hypotheses: NDArray[np.int32]
    reference_lengths: NDArray[np.int64]
    hypothesis_lengths: NDArray[np.int64]


def edit_counts(references: Sequence[Items], hypotheses: Sequence[Items]) -> NDArray[np.int64]:
    """Errors of each pair: int64 (N, 3) with insertions, deletions and substitutions (see the module for ties).

    Args:
        references: N sequences of hashable items, such as lists of words; a string is a sequence of characters.
        hypotheses: N sequences.

    Raises:
        ValueError: different numbers of references and hypotheses.
    """
    counts = np.zeros((len(references), 3), dtype=np.int64)
    for batch in _batches(references, hypotheses):
        costs, scale = _forward(batch, None)
        errors, substitutions = np.divmod(costs, scale)
        surplus = batch.hypothesis_lengths - batch.reference_lengths
        insertions = (errors - substitutions + surplus) // 2
        counts[batch.places] = np.stack([insertions, insertions - surplus, substitutions], axis=1)
    return counts


def alignments(references: Sequence[Items], hypotheses: Sequence[Items]) -> list[list[Pair]]:
    """Best alignment of each pair: (reference item, hypothesis item) pairs, None where one side has nothing.

    Where several alignments are best, reading from the end a match or substitution is preferred to a deletion and
    that to an insertion. The counts are those of `edit_counts`.
    """
    found: list[list[Pair]] = [[] for _ in references]
    for batch in _batches(references, hypotheses):
        num_rows, num_columns = len(batch.references) + 1, len(batch.hypotheses) + 1
        moves = np.empty((num_rows + num_columns - 1, num_rows, len(batch.places)), dtype=np.uint8)
        _forward(batch, moves)
        for place, path in zip(batch.places.tolist(), _traced(batch, moves), strict=True):
            found[place] = _paired(path, references[place], hypotheses[place])
    return found


def _batches(references: Sequence[Items], hypotheses: Sequence[Items]) -> Iterator[Batch]:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses; there must be one for one")
    numbers: defaultdict[Hashable, int] = defaultdict(itertools.count().__next__)
    ref_items, ref_starts, ref_lengths = _flat(references, numbers)
    hyp_items, hyp_starts, hyp_lengths = _flat(hypotheses, numbers)
    order = np.argsort(ref_lengths + hyp_lengths, kind="stable")
    last = len(order)
    while last > 0:
        longest = int(ref_lengths[order[last - 1]] + hyp_lengths[order[last - 1]])
        first = max(0, last - max(1, min(1024, CELLS_PER_BATCH // (longest + 1) ** 2)))
        places = order[first:last]
        yield Batch(
            places,
            _block(ref_items, ref_starts[places], ref_lengths[places]),
            _block(hyp_items, hyp_starts[places], hyp_lengths[places])[::-1],
            ref_lengths[places],
            hyp_lengths[places],
        )
        last = first


def _flat(
    sequences: Sequence[Items], numbers: "defaultdict[Hashable, int]"
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """All items as numbers in one array, with the start and length of each sequence."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    total = int(lengths.sum())
    items = np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(sequences)), np.int32, total)
    return items, np.cumsum(lengths) - lengths, lengths


def _block(items: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """Gather sequences into (longest length, number of sequences), -1 after their ends."""
    positions = np.arange(int(lengths.max()))[:, None]
    if not len(items):
        return np.empty((0, len(starts)), dtype=np.int32)
    block: NDArray[np.int32] = items[np.minimum(starts + positions, len(items) - 1)]
    block[positions >= lengths] = -1
    return block


def _forward(batch: Batch, moves: NDArray[np.uint8] | None) -> tuple[NDArray[np.int64], int]:
    """Cost of every pair and the scale of an error in it; fills `moves` (diagonal, reference position, pair)."""
    num_ref, num_hyp = len(batch.references), len(batch.hypotheses)
    scale = min(num_ref, num_hyp) + 1
    kind = np.int16 if (num_ref + num_hyp + 2) * (scale + 1) < 1 << 15 else np.int64
    ends = np.searchsorted(batch.reference_lengths + batch.hypothesis_lengths, np.arange(num_ref + num_hyp + 2))
    costs = np.zeros(len(batch.places), dtype=np.int64)
    before, last, new = (np.zeros((num_ref + 1, len(costs)), dtype=kind) for _ in range(3))
    substitution = kind(scale + 1)
    for diagonal in range(1, num_ref + num_hyp + 1):
        low, high = max(1, diagonal - num_hyp), min(diagonal - 1, num_ref)
        if diagonal <= num_hyp:
            new[0] = diagonal * scale
        if diagonal <= num_ref:
            new[diagonal] = diagonal * scale
        if low <= high:
            shift = num_hyp - diagonal
            differ = batch.references[low - 1 : high] != batch.hypotheses[shift + low : shift + high + 1]
            through = before[low - 1 : high] + differ * substitution
            cheaper = np.minimum(last[low - 1 : high], last[low : high + 1])
            np.minimum(through, cheaper + kind(scale), out=new[low : high + 1])
            if moves is not None:
                _note(moves[diagonal, low : high + 1], new[low : high + 1] != through, last, low, high)
        done = slice(ends[diagonal], ends[diagonal + 1])
        costs[done] = new[batch.reference_lengths[done], np.arange(done.start, done.stop)]
        before, last, new = last, new, before
    return costs, scale


def _note(moves: NDArray[np.uint8], not_through: NDArray[np.bool_], last: NDArray[Any], low: int, high: int) -> None:
    insertion_is_cheaper = last[low : high + 1] < last[low - 1 : high]
    np.add(not_through, insertion_is_cheaper & not_through, out=moves, dtype=np.uint8)


def _traced(batch: Batch, moves: NDArray[np.uint8]) -> list[list[int]]:
    """Moves of every pair from its end to its start; steps beyond the start are not in the list."""
    ref, hyp = batch.reference_lengths.copy(), batch.hypothesis_lengths.copy()
    pairs = np.arange(len(ref))
    steps = np.zeros((len(moves), len(ref)), dtype=np.uint8)
    num_steps = np.zeros(len(ref), dtype=np.int64)
    for step in range(len(moves) - 1):
        running = ref + hyp > 0
        move = moves[ref + hyp, ref, pairs]
        move = np.where(ref == 0, INSERTION, np.where(hyp == 0, DELETION, move))
        steps[step] = move
        num_steps += running
        ref -= running & (move != INSERTION)
        hyp -= running & (move != DELETION)
    return [steps[:count, pair].tolist() for pair, count in enumerate(num_steps.tolist())]


def _paired(backward: list[int], reference: Items, hypothesis: Items) -> list[Pair]:
    ref, hyp = iter(reference), iter(hypothesis)
    return [
        (None if move == INSERTION else next(ref), None if move == DELETION else next(hyp))
        for move in reversed(backward)
    ]
