"""From a token sequence to the words of a lexicon."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from speechkit.text.lexicon import Lexicon


@dataclass
class _Node:
    children: dict[str, int] = field(default_factory=dict)
    word: str | None = None


class Segmenter:
    """Cuts token sequences into words with the fewest token edits, then the fewest words.

    Uniform-cost search over (position, trie node), so a sequence that the lexicon spells exactly is found without
    looking at edits at all. Of words spelled alike the one that comes first in the lexicon is taken. A word always
    matches at least one of its own tokens or replaces one, so words never appear out of nothing.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._nodes = [_Node()]
        for word, spelling in lexicon.entries:
            node = 0
            for token in spelling:
                if token not in self._nodes[node].children:
                    self._nodes[node].children[token] = len(self._nodes)
                    self._nodes.append(_Node())
                node = self._nodes[node].children[token]
            if self._nodes[node].word is None:
                self._nodes[node].word = word

    def words(self, tokens: Sequence[str]) -> list[str]:
        """Words whose spellings, one after the other, are nearest to `tokens`; none for no tokens."""
        if not tokens:
            return []
        came_from: dict[tuple[int, int], tuple[tuple[int, int], str | None]] = {}
        start = (0, 0)
        queue: list[tuple[int, int, int, tuple[int, int], tuple[int, int], str | None]] = [
            (0, 0, 0, start, start, None)
        ]
        while queue:
            edits, num_words, _, state, previous, word = heapq.heappop(queue)
            if state in came_from:
                continue
            came_from[state] = (previous, word)
            if state == (len(tokens), 0):
                break
            for cost, target, ended in self._arcs(tokens, *state):
                if target not in came_from:
                    words_now = num_words + (ended is not None)
                    heapq.heappush(queue, (edits + cost, words_now, -target[0], target, state, ended))
        return _traced(came_from, (len(tokens), 0))

    def _arcs(self, tokens: Sequence[str], position: int, index: int) -> list[tuple[int, tuple[int, int], str | None]]:
        node = self._nodes[index]
        arcs: list[tuple[int, tuple[int, int], str | None]] = []
        if node.word is not None:
            arcs.append((0, (position, 0), node.word))
        if position < len(tokens):
            arcs.append((1, (position + 1, index), None))
        for token, child in node.children.items():
            if position < len(tokens):
                arcs.append((int(token != tokens[position]), (position + 1, child), None))
            arcs.append((1, (position, child), None))
        return arcs


def _traced(came_from: dict[tuple[int, int], tuple[tuple[int, int], str | None]], state: tuple[int, int]) -> list[str]:
    words: list[str] = []
    while state != (0, 0):
        state, word = came_from[state]
        if word is not None:
            words.append(word)
    return words[::-1]
