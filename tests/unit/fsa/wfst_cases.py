"""Small lexicons and language models, and what decoding with them has to give, by enumeration."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechkit.fsa.wfst.compile import compile_graph
from speechkit.fsa.wfst.graph import DecodingGraph, Topology

TOKENS = ("<blk>", "x", "y", "z")
Entries = list[tuple[str, list[int]]]
Levels = list[dict[tuple[str, ...], tuple[float, float]]]
LEXICONS: dict[str, Entries] = {
    "phones": [("x", [1]), ("y", [2]), ("z", [3])],
    "prefixes": [("a", [1]), ("b", [2]), ("ab", [1, 2])],
    "homophones": [("red", [1, 3]), ("read", [1, 3]), ("reed", [2, 3]), ("read", [2, 3])],
    "doubled": [("a", [1]), ("aa", [1, 1]), ("a", [2, 1]), ("b", [2])],
}


def make_levels(words: Sequence[str], order: int, seed: int) -> Levels:
    """A made-up n-gram model, in which a good part of the n-grams is left to back-off."""
    rng = np.random.default_rng(seed)
    levels: Levels = [{(word,): (float(rng.uniform(-2, -0.2)), 0.0) for word in ("<unk>", "</s>", *words)}]
    levels[0][("<s>",)] = (-99.0, 0.0)
    for length in range(2, order + 1):
        shorter = levels[-1]
        for history in [ngram for ngram in shorter if ngram[-1] not in ("</s>", "<unk>")]:
            shorter[history] = (shorter[history][0], float(rng.uniform(-1, 0.2)))
        levels.append({})
        for history, word in itertools.product(list(shorter), [*words, "</s>"]):
            if history[-1] not in ("</s>", "<unk>") and rng.random() < 0.4:
                levels[length - 1][(*history, word)] = (float(rng.uniform(-2, -0.1)), 0.0)
    return levels


def make_graph(lexicon: str, order: int, seed: int, kind: str = "ctc") -> tuple[DecodingGraph, Levels]:
    """The graph of one of `LEXICONS` and a model, and the model."""
    entries = LEXICONS[lexicon]
    levels = make_levels(list(dict.fromkeys(word for word, _ in entries)), order, seed)
    return compile_graph(entries, levels, TOKENS, topology=Topology(kind)), levels


def lm_score(levels: Levels, words: Sequence[str]) -> float:
    """The best log10 score of a sentence where a decoder may back off at any place, as graphs let it."""
    histories = {ngram for level in levels[:-1] for ngram in level} | {()}
    reached = {("<s>",) if len(levels) > 1 else (): 0.0}
    for word in [*words, "</s>"]:
        for length in range(len(levels) - 1, 0, -1):
            for history in [each for each in reached if len(each) == length]:
                score, shorter = reached[history], history
                while shorter == history or shorter not in histories:
                    score += levels[len(shorter) - 1].get(shorter, (0.0, 0.0))[1]
                    shorter = shorter[1:]
                reached[shorter] = max(reached.get(shorter, -math.inf), score)
        following: dict[tuple[str, ...], float] = {}
        for history, score in reached.items():
            if (*history, word) in levels[len(history)]:
                total = score + levels[len(history)][(*history, word)][0]
                after = () if word == "</s>" else (*history, word)[-len(levels) + 1 :] if len(levels) > 1 else ()
                while after not in histories:
                    after = after[1:]
                following[after] = max(following.get(after, -math.inf), total)
        reached = following
    return max(reached.values(), default=-math.inf)


def sentences(words: Sequence[str], longest: int) -> Iterator[tuple[str, ...]]:
    """All of up to `longest` words."""
    for length in range(longest + 1):
        yield from itertools.product(words, repeat=length)


def alignment_score(log_probs: npt.NDArray[np.float32], tokens: Sequence[int], parts_equal: bool) -> float:
    """The best path of frames that CTC reads as `tokens`, by dynamic programming over the sequence with blanks."""
    labels = [0, *itertools.chain.from_iterable((token, 0) for token in tokens)]
    scores = np.full(len(labels), -np.inf)
    for t, row in enumerate(log_probs.astype(np.float64)):
        before, scores = scores, np.full(len(labels), -np.inf)
        for place, label in enumerate(labels):
            options = [0.0 if t == 0 and place < 2 else -np.inf, before[place]]
            options += [before[place - 1]] if place else []
            may_skip = place > 1 and label != 0 and (label != labels[place - 2] or not parts_equal)
            options += [before[place - 2]] if may_skip else []
            scores[place] = max(options) + row[label]
    return float(max(scores[-2:]))


@dataclass(frozen=True)
class Reading:
    """A sentence with the score of its best path of frames and its score by the model (log10)."""

    words: list[str]
    acoustic: float
    lm: float

    def score(self, lm: float, word: float) -> float:
        """Weighted."""
        return self.acoustic + lm * self.lm + word * len(self.words)


def readings(log_probs: npt.NDArray[np.float32], lexicon: str, levels: Levels, kind: str = "ctc") -> list[Reading]:
    """Every sentence that fits into the frames."""
    entries = LEXICONS[lexicon]
    found = []
    for words in sentences(list(dict.fromkeys(word for word, _ in entries)), len(log_probs)):
        choices = [[spelling for name, spelling in entries if name == word] for word in words]
        spelled = [[token for word in spelling for token in word] for spelling in itertools.product(*choices)]
        spelled = [tokens for tokens in spelled if len(tokens) <= len(log_probs)]
        scores = [alignment_score(log_probs, tokens, kind == "ctc") for tokens in spelled]
        if scores and max(scores) > -math.inf:
            found.append(Reading(list(words), max(scores), lm_score(levels, words)))
    return found


def random_log_probs(frames: int, seed: int, tokens: int = len(TOKENS)) -> npt.NDArray[np.float32]:
    """Rows of some sharpness."""
    rng = np.random.default_rng(seed)
    found: npt.NDArray[np.float32] = np.log(rng.dirichlet(np.full(tokens, 0.5), size=frames)).astype(np.float32)
    return found.clip(-20)
