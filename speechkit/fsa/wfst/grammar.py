"""G: the acceptor of an n-gram model, a state for each history and an arc with #0 to each shorter one."""

import logging
import math
from collections.abc import Mapping, Sequence

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.wfst.openfst import EPSILON, Fst

log = logging.getLogger(__name__)
Ngram = tuple[str, ...]
Levels = Sequence[Mapping[Ngram, tuple[float, float]]]
START, END = "<s>", "</s>"
LN10 = math.log(10)


def grammar_fst(levels: Levels, words: Mapping[str, int], backoff: int) -> Fst:
    """Build G from the rows of an ARPA model (Mohri et al. 2002, section 4.1; back-off as Kaldi's arpa2fst).

    Words outside `words` are dropped with every n-gram that holds them; the probability that this takes away is not
    given to others.

    Args:
        levels: for each length a map from n-gram to (log10 probability, log10 backoff weight).
        words: output label of each word that decoding may give.
        backoff: input label of back-off arcs.

    Raises:
        SpeechkitError: no word of the model is in `words`, or the model ends no sentence.
    """
    known = words.keys() | {START, END}
    kept = [{ngram: values for ngram, values in level.items() if known.issuperset(ngram)} for level in levels]
    _report(levels, kept, words)
    start = (START,) if len(levels) > 1 else ()
    histories = _histories(kept, start)
    arcs: list[tuple[int, int, int, int, float]] = []
    final = [math.inf] * len(histories)
    for level in kept:
        for ngram, (prob, _) in level.items():
            source = histories[ngram[:-1]]
            if ngram[-1] == END:
                final[source] = -LN10 * prob
            elif ngram[-1] != START:
                label = words[ngram[-1]]
                arcs.append((source, label, label, _longest(ngram, histories, len(levels)), -LN10 * prob))
    if all(map(math.isinf, final)):
        raise SpeechkitError(f"the language model has no {END}, so no sentence could end; estimate it from sentences")
    for history, source in histories.items():
        if history:
            shorter, weight = _shorter(history, histories, kept)
            arcs.append((source, backoff, EPSILON, histories[shorter], -LN10 * weight))
    source_column, ilabel, olabel, destination, cost = zip(*arcs, strict=True)
    return Fst.from_arcs(histories[start], source_column, (ilabel, olabel, destination, cost), final)


def _histories(levels: Levels, start: Ngram) -> dict[Ngram, int]:
    """States by history: what n-grams begin with, and what costs something to back off from.

    The latter may have lost all the n-grams that it begins with words that were dropped.
    """
    extended = (ngram[:-1] for level in levels[1:] for ngram in level)
    weighted = (ngram for level in levels[:-1] for ngram, (_, backoff) in level.items() if backoff)
    return {history: number for number, history in enumerate(dict.fromkeys(((), start, *extended, *weighted)))}


def _longest(ngram: Ngram, histories: Mapping[Ngram, int], order: int) -> int:
    """State after `ngram`: its longest end that is a history."""
    first = max(0, len(ngram) - order + 1)
    return next(histories[ngram[begin:]] for begin in range(first, len(ngram) + 1) if ngram[begin:] in histories)


def _shorter(history: Ngram, histories: Mapping[Ngram, int], levels: Levels) -> tuple[Ngram, float]:
    """The next shorter history that has a state, and the log10 weight of backing off to it."""
    weight = levels[len(history) - 1].get(history, (0.0, 0.0))[1]
    return next(history[begin:] for begin in range(1, len(history) + 1) if history[begin:] in histories), weight


def _report(levels: Levels, kept: Levels, words: Mapping[str, int]) -> None:
    found = {ngram[0] for ngram in kept[0]} - {START, END}
    dropped = sorted({ngram[0] for ngram in levels[0]} - found - {START, END, "<unk>"})
    if not found:
        raise SpeechkitError("the lexicon has no word of the language model; do both belong to one language folder?")
    if dropped:
        log.info("%d words of the language model are not in the lexicon and left out: %s", len(dropped), _some(dropped))
    unseen = sorted(words.keys() - found)
    if unseen:
        log.info("%d words of the lexicon are not in the language model: %s", len(unseen), _some(unseen))


def _some(words: Sequence[str]) -> str:
    return " ".join(words[:10]) + (" ..." if len(words) > 10 else "")
