"""L: the transducer from tokens to words, made determinisable by disambiguation symbols (Mohri et al. 2002)."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from speechkit.fsa.wfst.openfst import EPSILON, Fst

Entry = tuple[int, Sequence[int]]
SILENCE_DISAMBIGUATION = 1  # "#1" follows silence; words take "#2", "#3", ... where there is silence, else from "#1"


@dataclass(frozen=True)
class Silence:
    """An optional token before, between and after words, with its probability at each of these places.

    With several `states` it is so many tokens from this one on, one after the other.
    """

    token: int
    probability: float = 0.5
    states: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            raise ValueError(f"the probability of silence lies between 0 and 1, not at {self.probability}")


def disambiguated(entries: Sequence[Entry], first: int) -> list[tuple[int, tuple[int, ...]]]:
    """The entries with a number from `first` on as a further label of those that share or begin other spellings.

    Numbers stand for the labels "#first", "#first + 1", ... and are given as negative values. Entries of one spelling
    get different numbers; a spelling that is alone, and begins no other, gets none (as Kaldi's add_lex_disambig.pl).
    """
    count = Counter(tuple(spelling) for _, spelling in entries)
    prefixes = {spelling[:length] for spelling in count for length in range(1, len(spelling))}
    used: Counter[tuple[int, ...]] = Counter()
    result = []
    for word, tokens in entries:
        spelling = tuple(tokens)
        if count[spelling] > 1 or spelling in prefixes:
            result.append((word, (*spelling, -(first + used[spelling]))))
            used[spelling] += 1
        else:
            result.append((word, spelling))
    return result


def lexicon_fst(
    entries: Sequence[Entry], num_tokens: int, num_words: int, silence: Silence | None = None
) -> tuple[Fst, int]:
    """L over any sequence of words, with the back-off symbol #0 as a loop between words.

    Args:
        entries: (word id from 1, token ids from 0) pairs; a word may come several times.
        num_tokens: tokens have the input labels 1 to `num_tokens` (token + 1); "#k" is `num_tokens + 1 + k`.
        num_words: words have the output labels 1 to `num_words`; #0 is `num_words + 1`.

    Returns:
        The transducer, and the number of disambiguation symbols with #0.
    """
    first = SILENCE_DISAMBIGUATION + 1 if silence else 1
    spelled = disambiguated(entries, first)
    between, start = 0, 1 if silence else 0
    arcs: list[tuple[int, int, int, int, float]] = [(between, num_tokens + 1, num_words + 1, between, 0.0)]
    ends = [(between, 0.0)]
    num_states = 1
    if silence:
        said, silent = 2, 3
        stay, pause = -math.log1p(-silence.probability), -math.log(silence.probability)
        arcs += [(start, EPSILON, EPSILON, between, stay), (start, EPSILON, EPSILON, said, pause)]
        chain = [said, *range(4, 3 + silence.states), silent]
        for state, (source, destination) in enumerate(itertools.pairwise(chain)):
            arcs.append((source, silence.token + state + 1, EPSILON, destination, 0.0))
        arcs.append((silent, num_tokens + 1 + SILENCE_DISAMBIGUATION, EPSILON, between, 0.0))
        ends = [(between, stay), (said, pause)]
        num_states = 3 + silence.states
    largest = first - 1
    for word, spelling in spelled:
        source, output = between, word
        for place, token in enumerate(spelling):
            label = token + 1 if token >= 0 else num_tokens + 1 - token
            largest = max(largest, -token)
            if place + 1 < len(spelling):
                arcs.append((source, label, output, num_states, 0.0))
                source, output = num_states, EPSILON
                num_states += 1
            else:
                arcs += [(source, label, output, end, cost) for end, cost in ends]
    final = [math.inf] * num_states
    final[between] = 0.0
    sources, ilabels, olabels, destinations, costs = zip(*arcs, strict=True)
    return Fst.from_arcs(start, sources, (ilabels, olabels, destinations, costs), final), largest + 1
