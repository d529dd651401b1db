"""New language model scores for lattices and n-best lists."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from speechkit.decode.beam import Hypothesis
from speechkit.decode.lattice import NO_WORD, Lattice

LN10 = math.log(10)
START, END = "<s>", "</s>"
Context = tuple[str, ...]
Node = tuple[int, int]
Row = tuple[Node, Node, int, float]


class LanguageModel(Protocol):
    """An n-gram, such as `speechkit.lm.arpa.Arpa`."""

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""

    def log10_prob(self, word: str, context: Sequence[str] = ()) -> float:
        """log10 P(word | context)."""


def rescored_list(hypotheses: Sequence[Hypothesis], model: LanguageModel) -> list[Hypothesis]:
    """The same hypotheses, in the same order, with the scores of another n-gram."""
    return [replace(each, lm=sentence_score(each.words, model)) for each in hypotheses]


def neural_lists(
    lists: Iterable[Sequence[Hypothesis]], log_probs: Callable[[list[Context]], list[float]]
) -> list[list[Hypothesis]]:
    """The lists with `log_probs`, the natural-log probabilities of sentences, as their neural scores.

    It is called once, with every different word sequence once.
    """
    found = [list(each) for each in lists]
    sentences = list(dict.fromkeys(tuple(each.words) for hypotheses in found for each in hypotheses))
    scores = dict(zip(sentences, log_probs(sentences), strict=True))
    return [[replace(each, neural=scores[tuple(each.words)]) for each in hypotheses] for hypotheses in found]


def sentence_score(words: Sequence[str], model: LanguageModel) -> float:
    """log10 probability of a sentence with its end."""
    sentence, seen = [START, *words, END], model.order - 1
    return sum(
        model.log10_prob(word, sentence[max(0, place - seen) : place]) for place, word in enumerate(sentence) if place
    )


def rescored_lattice(lattice: Lattice, model: LanguageModel) -> Lattice:
    """The same word sequences with graph scores from another n-gram, on as many nodes as its histories need.

    All of the old graph scores go, those of optional silence too.
    """
    return _Rescoring(lattice, model).run()


class _Rescoring:
    """The lattice composed with an n-gram: a node is a node of the lattice with the last words before it."""

    def __init__(self, lattice: Lattice, model: LanguageModel) -> None:
        self.lattice, self.model = lattice, model
        self.numbers: dict[Context, int] = {}
        self.contexts: list[Context] = []
        self.known: dict[tuple[int, int], tuple[float, int]] = {}

    def run(self) -> Lattice:
        lattice, rows = self.lattice, list[Row]()
        reached: list[dict[int, None]] = [{} for _ in range(lattice.num_nodes)]
        reached[0][self._number((START,))] = None
        last = lattice.num_nodes - 1
        columns = (lattice.arcs[name].tolist() for name in ("source", "destination", "word"))
        for arc, (source, destination, word) in enumerate(zip(*columns, strict=True)):
            for context in reached[source]:
                score, after = (0.0, context) if word == NO_WORD else self._read(context, word)
                if destination == last:
                    score, after = score + LN10 * self.model.log10_prob(END, self.contexts[after]), 0
                reached[destination][after] = None
                rows.append(((source, context), (destination, after), arc, score))
        return self._lattice(rows)

    def _number(self, context: Context) -> int:
        """Number of a history, of which only as many words count as the model looks back."""
        context = context[max(0, len(context) - self.model.order + 1) :]
        if context not in self.numbers:
            self.numbers[context] = len(self.contexts)
            self.contexts.append(context)
        return self.numbers[context]

    def _read(self, context: int, word: int) -> tuple[float, int]:
        """Natural-log score of a word after a history, and the history then."""
        if (context, word) not in self.known:
            before, symbol = self.contexts[context], self.lattice.words[word]
            score = LN10 * self.model.log10_prob(symbol, before)
            self.known[context, word] = (score, self._number((*before, symbol)))
        return self.known[context, word]

    def _lattice(self, rows: list[Row]) -> Lattice:
        rows.sort()
        found = sorted({node for begin, end, _, _ in rows for node in (begin, end)})
        nodes = {node: number for number, node in enumerate(found)}
        arcs = self.lattice.arcs[[arc for _, _, arc, _ in rows]]
        arcs["source"] = [nodes[begin] for begin, _, _, _ in rows]
        arcs["destination"] = [nodes[end] for _, end, _, _ in rows]
        arcs["graph"] = [score for _, _, _, score in rows]
        return Lattice(arcs, len(nodes), self.lattice.words)
