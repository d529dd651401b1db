"""Neural language models in the first pass of the beam search.

The search asks for one word after one history at a time, which a neural model answers slowly. Therefore the beginnings
of sentences form a tree in which each is read once, and between two frames all those that the beam holds are read
together: the histories and, where tokens are letters, what was heard of the next word. What the search then asks for is
mostly known.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

END = 0  # the token before the first word and after the last
MOST_BYTES = 1 << 29  # of what was read, kept from one search to the next


class TokenModel(Protocol):
    """A language model that reads sentences token by token."""

    def encode_word(self, word: str) -> Sequence[int]:
        """Token numbers of one word."""

    def encode_begun(self, letters: str) -> Sequence[int]:
        """Token numbers that every word with these first letters begins with, as far as they tell."""

    def first_log_probs(self, words: Sequence[str]) -> list[float]:
        """Natural-log probability of each word at the beginning of a sentence."""

    def start(self) -> Any:
        """State before the first token."""

    def read(self, states: Sequence[Any], tokens: Sequence[int]) -> tuple[npt.NDArray[np.float32], list[Any], int]:
        """Read a token after each state: natural-log probabilities `(N, V)` of the next, states then, their bytes."""


class Prefix:
    """A beginning of sentences, with what may follow once it has been read."""

    __slots__ = ("after", "before", "log_probs", "state", "token")

    def __init__(self, before: "Prefix | None", token: int) -> None:
        self.before, self.token = before, token
        self.after: dict[int, Prefix] = {}
        self.log_probs: npt.NDArray[np.float32] | None = None
        self.state: Any = None


class PrefixTree:
    """Beginnings of sentences that a model has read."""

    def __init__(self, model: TokenModel) -> None:
        self.model = model
        self.clear()

    def clear(self) -> None:
        """Forget all but the empty beginning."""
        self.bytes = 0
        self.root = Prefix(None, END)
        self._store([self.root], [self.model.start()])

    def follow(self, prefix: Prefix, tokens: Iterable[int]) -> Prefix:
        """The beginning that is longer by some tokens."""
        for token in tokens:
            if token not in prefix.after:
                prefix.after[token] = Prefix(prefix, token)
            prefix = prefix.after[token]
        return prefix

    def read(self, prefixes: Iterable[Prefix]) -> None:
        """Read what is new of these, in as few batches as the new parts have tokens."""
        waiting: dict[Prefix, None] = {}
        for prefix in prefixes:
            new: Prefix | None = prefix
            while new is not None and new.log_probs is None and new not in waiting:
                waiting[new] = None
                new = new.before
        while waiting:
            ready = [each for each in waiting if each.before is not None and each.before.log_probs is not None]
            self._store(ready, [each.before.state for each in ready if each.before])
            for each in ready:
                del waiting[each]

    def log_prob(self, prefix: Prefix, tokens: Sequence[int]) -> float:
        """Natural-log probability of some tokens after a beginning."""
        total, last = 0.0, len(tokens) - 1
        for place, token in enumerate(tokens):
            if prefix.log_probs is None:
                self.read([self.follow(prefix, tokens[place:last])])
            total += float(prefix.log_probs[token])  # type: ignore[index]
            if place < last:
                prefix = self.follow(prefix, (token,))
        return total

    def _store(self, prefixes: Sequence[Prefix], states: Sequence[Any]) -> None:
        log_probs, after, size = self.model.read(states, [each.token for each in prefixes])
        self.bytes += size + log_probs.nbytes
        for prefix, row, state in zip(prefixes, log_probs, after, strict=True):
            prefix.log_probs, prefix.state = row, state


def fused_model(decoder: Any, tree: PrefixTree, words: Sequence[str]) -> Any:
    """A language model for the searches of flashlight's `decoder`; number i is `words[i]`.

    Its scores are natural logs. `prefixes` maps the states of a search, which are the same for the same words.
    """
    encoded = [tuple(tree.model.encode_word(word)) for word in words]

    class FusedModel(decoder.LM):
        prefixes: dict[Any, Prefix]

        def start(self, _start_with_nothing: bool) -> Any:
            state = decoder.LMState()
            self.prefixes = {state: tree.root}
            return state

        def score(self, state: Any, index: int) -> tuple[Any, float]:
            prefix, after = self.prefixes[state], state.child(index)
            if after not in self.prefixes:
                self.prefixes[after] = tree.follow(prefix, encoded[index])
            return after, tree.log_prob(prefix, encoded[index])

        def finish(self, state: Any) -> tuple[Any, float]:
            return state.child(len(encoded)), tree.log_prob(self.prefixes[state], (END,))

    return FusedModel()
