"""Sentences are new each time and espeak says them word by word."""

from itertools import islice

import numpy as np

from speechkit.data.miniature import espeak, grammar, phones
from speechkit.text.phones import PHONES_39, fold


def test_sentences_never_repeat_and_have_the_wished_length():
    made = list(islice(grammar.sentences(np.random.default_rng(0)), 5000))
    assert len(set(made)) == 5000
    assert not set(made) & set(grammar.SHARED_SENTENCES)
    assert {len(grammar.words(text)) for text in made} == {4, 5, 6, 7, 8, 9}
    longer = list(islice(grammar.sentences(np.random.default_rng(0), shortest=7, longest=12), 1000))
    assert {len(grammar.words(text)) for text in longer} >= {7, 8, 9, 10}
    assert min(len(grammar.words(text)) for text in longer) == 7
    assert set(" ".join(map(" ".join, map(grammar.words, made))).split()) <= set(grammar.vocabulary())


def test_sentences_depend_on_the_generator_only():
    first, second, other = (list(islice(grammar.sentences(np.random.default_rng(seed)), 50)) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_articles_fit_the_word_after():
    text = " ".join(islice(grammar.sentences(np.random.default_rng(1)), 4000)).lower().split()
    pairs = {(left, right.strip(".,?")) for left, right in zip(text, text[1:], strict=False) if left in ("a", "an")}
    assert len(pairs) > 100
    exceptions = {"useful", "usual", "unusual"}  # the third takes `an`, as its spelling says
    wrong = [pair for pair in pairs if (pair[0] == "an") != (pair[1][0] in "aeiou") and pair[1] not in exceptions]
    assert not wrong
    assert ("an", "useful") not in pairs
    assert ("a", "unusual") not in pairs


def test_words_are_spoken_one_by_one_and_hold_every_english_sound():
    voice = espeak.Voice("en-us+m1", 200, 50, 50)
    heard: set[str] = set()
    for text in [*grammar.SHARED_SENTENCES, *islice(grammar.sentences(np.random.default_rng(2)), 400)]:
        speech = espeak.synthesise(text, voice)
        assert [grammar.words(word) for word in speech.words] == [[word] for word in grammar.words(text)], text
        heard |= {item.phone for item in phones.segment(speech)}
    assert set(fold(sorted(heard), 39)) == set(PHONES_39)
