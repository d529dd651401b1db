"""N-grams over a model's tokens as epsilon-free acceptors, for the denominator of LF-MMI.

Two estimates from the training transcripts:

- `smoothed`: modified Kneser-Ney, every token possible after every history. icefall makes a back-off model's back-off
  arcs epsilons and removes them; here each history's whole distribution is written out, so no sequence counts twice.
- `counted`: like Kaldi's phone language model, relative frequencies without smoothing: only what follows a history in
  the transcripts is possible after it, which keeps high orders small (KD src/chain/language-model.h).

Both are deterministic, a token sequence has one path at most. Token 0, the blank, is not part of them.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import FINAL_LABEL, Graph
from speechkit.lm.counts import END, SPECIAL, START, UNKNOWN, NgramCounts, count_ngrams
from speechkit.lm.kneser_ney import NgramModel, estimate

Indices = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
History = tuple[int, ...]
Followers = dict[History, Counter[int]]
BEGIN, STOP = -1, FINAL_LABEL  # in histories and among what follows them


def smoothed(sequences: Sequence[Sequence[int]], order: int, num_tokens: int) -> Graph:
    """A modified Kneser-Ney n-gram of tokens 1..`num_tokens` - 1, every arc of every history written out.

    Tokens never seen share the probability of the unknown word: were they not in the denominator, nothing would keep
    the model from predicting them. Where all were seen, the others share it in proportion.

    Raises:
        SpeechkitError: no tokens at all, or one outside the range.
    """
    _check(sequences, num_tokens)
    counts = count_ngrams(([str(token) for token in sequence] for sequence in sequences), order)
    histories = _Histories(estimate(counts))
    seen = [int(word) for word in counts.words[len(SPECIAL) :]]
    unseen = sorted(set(range(1, num_tokens)) - set(seen))
    unknown, end = counts.words.index(UNKNOWN), counts.words.index(END)
    words = np.array([*range(len(SPECIAL), len(counts.words)), *[unknown] * len(unseen), end])
    prob = histories.prob[:, words]
    prob[:, len(seen) : -1] /= max(1, len(unseen))
    scores = np.log(prob / prob.sum(axis=1, keepdims=True)).tolist()
    tokens = [*seen, *unseen, STOP]
    arcs: list[tuple[int, int, int, float]] = []
    numbers = {histories.start: 0}
    queue = [histories.start]
    for number, history in enumerate(queue):  # the queue grows
        targets = histories.after[history, words].tolist()
        for token, target, score in zip(tokens, targets, scores[history], strict=True):
            if token != STOP and target not in numbers:
                numbers[target] = len(queue)
                queue.append(target)
            arcs.append((number, -1 if token == STOP else numbers[target], token, score))
    return _acceptor(arcs, len(queue))


class _Histories:
    """Each history of a back-off model with its distribution over all words, number 0 the empty one.

    Only n-grams that something follows are histories; the longest suffix that is one stands for any other n-gram.

    Attributes:
        prob: probability of each word after each history, `(H, W)`.
        after: the history after each history and word, `(H, W)`.
        start: the history at the start of a sentence.
    """

    def __init__(self, model: NgramModel) -> None:
        levels, order = model.counts.levels, model.counts.order
        numbers = _history_numbers(model.counts)
        size, width = 1 + max(int(each.max()) for each in numbers), len(model.counts.words)
        self.prob, self.after = np.zeros((size, width)), np.zeros((size, width), np.int64)
        self.prob[0] = 10.0 ** model.log_probs[0]
        self.after[0] = numbers[1] if order > 1 else 0
        for length in range(1, order):
            level, longer = levels[length - 1], levels[length]
            followed = np.unique(longer.prefix)
            own, backed_off = numbers[length][followed], numbers[length - 1][level.suffix[followed]]
            self.prob[own] = 10.0 ** model.backoffs[length - 1][followed, None] * self.prob[backed_off]
            self.after[own] = self.after[backed_off]
            place = numbers[length][longer.prefix], longer.word
            self.prob[place] = 10.0 ** model.log_probs[length]
            self.after[place] = numbers[length + 1] if length + 1 < order else numbers[length][longer.suffix]
        self.start = int(numbers[1][model.counts.words.index(START)]) if order > 1 else 0


def _history_numbers(counts: NgramCounts) -> list[Indices]:
    """For the n-grams of each length below the order, from 0, the history that stands for them."""
    numbers: list[Indices] = [np.zeros(1, np.int64)]
    size = 1
    for level, longer in zip(counts.levels[:-1], counts.levels[1:], strict=True):
        followed = np.zeros(len(level.word), bool)
        followed[longer.prefix] = True
        numbers.append(np.where(followed, size - 1 + np.cumsum(followed), numbers[-1][level.suffix]))
        size += int(followed.sum())
    return numbers


def counted(
    sequences: Sequence[Sequence[int]],
    order: int,
    num_tokens: int,
    *,
    unpruned_order: int = 3,
    extra_states: int = 2000,
) -> Graph:
    """An n-gram of relative frequencies that backs off by removing histories, with a limit on their number.

    At first every history of `order` - 1 tokens (fewer after the start of a sentence) is a state. While more than
    `extra_states` of them are longer than an `unpruned_order`-gram needs, the one whose merging into its suffix costs
    the least likelihood of the transcripts is merged; an arc leads to the longest suffix that is a state. Then the
    transcripts are run through the acceptor, and the arcs get the relative frequencies with which they are taken.

    Raises:
        SpeechkitError: no tokens at all, or one outside the range.
    """
    _check(sequences, num_tokens)
    followers: Followers = defaultdict(Counter)
    for sequence in sequences:
        history = (BEGIN,)[: order - 1]
        for token in (*sequence, STOP):
            followers[history][token] += 1
            history = (*history, token)
            history = history[max(0, len(history) - order + 1) :]
    kept = _pruned(followers, unpruned_order, extra_states)
    taken: Followers = defaultdict(Counter)
    for sequence in sequences:
        history = _longest((BEGIN,), kept)
        for token in (*sequence, STOP):
            taken[history][token] += 1
            history = _longest((*history, token), kept)
    numbers = {state: number for number, state in enumerate(taken)}  # the start comes first
    arcs: list[tuple[int, int, int, float]] = []
    for state, following in taken.items():
        total = following.total()
        for token, count in sorted(following.items()):
            target = -1 if token == STOP else numbers[_longest((*state, token), kept)]
            arcs.append((numbers[state], target, token, math.log(count / total)))
    return _acceptor(arcs, len(numbers))


def _pruned(followers: Followers, unpruned_order: int, extra_states: int) -> set[History]:
    """The histories that stay."""
    merged = {history: Counter(following) for history, following in followers.items()}
    version: Counter[History] = Counter()

    def candidate(history: History) -> tuple[float, History, int]:
        """What merging `history` into its suffix costs in likelihood, and how often the two have changed so far."""
        own, shorter = merged[history], merged.get(history[1:], Counter())
        cost = _log_likelihood(own) + _log_likelihood(shorter) - _log_likelihood(own + shorter)
        return cost, history, version[history] + version[history[1:]]

    queue = [candidate(history) for history in merged if len(history) >= unpruned_order]
    heapq.heapify(queue)
    surplus = len(queue) - extra_states
    while surplus > 0:
        _, history, changes = heapq.heappop(queue)
        suffix = history[1:]
        if history not in merged:
            continue
        if changes != version[history] + version[suffix]:
            heapq.heappush(queue, candidate(history))
            continue
        surplus -= 1 if suffix in merged or len(suffix) < unpruned_order else 0
        merged[suffix] = merged.pop(history) + merged.get(suffix, Counter())
        version[suffix] += 1
        if len(suffix) >= unpruned_order:
            heapq.heappush(queue, candidate(suffix))
    return set(merged)


def _log_likelihood(following: Counter[int]) -> float:
    """Of counts under their own relative frequencies."""
    total = following.total()
    return sum(count * math.log(count / total) for count in following.values())


def _longest(history: History, kept: set[History]) -> History:
    """The longest suffix of `history` that is kept, at least the empty one."""
    while history and history not in kept:
        history = history[1:]
    return history


def _check(sequences: Sequence[Sequence[int]], num_tokens: int) -> None:
    tokens = {token for sequence in sequences for token in sequence}
    if not tokens:
        raise SpeechkitError("the training transcripts hold no tokens; check the text of the training set")
    bad = next((token for token in sorted(tokens) if not 0 < token < num_tokens), None)
    if bad is not None:
        raise SpeechkitError(f"the training transcripts hold token {bad}; the model has 1 to {num_tokens - 1}")


def _acceptor(arcs: list[tuple[int, int, int, float]], final: int) -> Graph:
    """Arcs whose destination is -1 end in the state `final`."""
    rows = [(source, final if target < 0 else target, token, score) for source, target, token, score in arcs]
    return Graph.from_arcs(rows, final + 1)
