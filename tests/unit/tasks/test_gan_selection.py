"""The metric and the rule that choose without transcripts, by hand, and what a choice refuses."""

import itertools
import json
import math
import random
from pathlib import Path

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.lm.arpa import Arpa, read_arpa
from speechkit.tasks.gan_selection import Figures, chosen, select

ARPA = """\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.6\t</s>
-0.5\ta\t-0.2
-0.4\tb\t-0.1

\\2-grams:
-0.1\t<s> a
-0.3\ta b
-0.2\tb a
-0.25\tb </s>

\\end\\
"""


@pytest.fixture
def lm(tmp_path: Path) -> Arpa:
    (tmp_path / "lm.arpa").write_text(ARPA)
    return read_arpa(tmp_path / "lm.arpa")


def test_metric_is_perplexity_with_sentence_ends_over_the_squared_share_of_symbols(lm: Arpa) -> None:
    found = Figures.of([["a", "b"], ["b", "b"], []], lm, vocabulary=5)
    # <s> a, a b, b </s>; <s> backs off to b, b backs off to b, b </s>; <s> backs off to </s>.
    score = -(0.1 + 0.3 + 0.25) - (0.3 + 0.4 + 0.1 + 0.4 + 0.25) - (0.3 + 0.6)
    assert found.log10_prob == pytest.approx(score)
    assert (found.symbols, found.sentences, found.used, found.vocabulary) == (4, 3, 2, 5)
    perplexity = 10 ** (-score / (4 + 3))
    assert found.perplexity == pytest.approx(perplexity)
    assert found.metric == pytest.approx(perplexity / (2 / 5) ** 2)
    assert found.evenness == pytest.approx(math.exp(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75))))
    assert Figures.from_values(json.loads(json.dumps(found.values()))) == found
    assert Figures.of([[], []], lm, vocabulary=5).metric == math.inf


def figures(nll: float, symbols: int, used: int) -> Figures:
    return Figures(-nll * (symbols + 10) / math.log(10), symbols, 10, used, 40, 20.0)


def test_choice_between_runs_is_that_of_equations_5_and_6() -> None:
    generator = random.Random(0)
    several = 0
    for _ in range(300):
        runs = [
            figures(generator.uniform(2.0, 2.6), generator.randint(200, 400), generator.randint(25, 40))
            for _ in range(6)
        ]
        share = [run.used / 40 for run in runs]
        best = min(range(6), key=lambda n: runs[n].nll - math.log(share[n]))
        close = [
            n for n in range(6)
            if runs[n].nll < runs[best].nll + math.log(share[n] / share[best]) + math.log(1.2)
        ]  # fmt: skip
        assert chosen(runs) == max(close, key=lambda n: runs[n].log10_prob)
        several += len(close) > 1
    assert several > 50  # the second equation had something to decide


def write_run(folder: Path, found: Figures, state: str = "trained", **changes: object) -> Path:
    (folder / "final").mkdir(parents=True)
    (folder / "final" / "task.json").write_text(folder.name)
    document = {"state": state, **found.values(), "lm": "lm.arpa", "seed": 0, **changes}
    (folder / "selection.json").write_text(json.dumps(document))
    (folder / "run.json").write_text(json.dumps({"system": "GAN", "seed": 3, "corpus": folder.name}))
    return folder


def test_collapsed_runs_are_passed_over_and_the_chosen_model_is_copied(tmp_path: Path) -> None:
    fine = write_run(tmp_path / "fine", figures(2.2, 300, 38), error_rate=80.0)
    worse = write_run(tmp_path / "worse", figures(2.9, 300, 38), error_rate=5.0)  # errors are not looked at
    collapsed = write_run(tmp_path / "collapsed", figures(0.1, 300, 40), "collapsed: mode collapse")
    for order in itertools.permutations([fine, worse, collapsed]):
        found = select(order, tmp_path / "out")
        assert found["chosen"] == str(fine)
        assert (tmp_path / "out" / "final" / "task.json").read_text() == "fine"
    selection = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert len(selection["runs"]) == 3
    assert selection["error_rate"] == 80.0  # the figures of the chosen one are at the top
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record == {"system": "GAN chosen of 3", "seed": 3, "corpus": "fine"}
    with pytest.raises(SpeechkitError, match=r"no run is left.*mode collapse.*other seeds"):
        select([collapsed], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", figures(2.2, 300, 38))
    other = write_run(tmp_path / "other", figures(2.2, 300, 38), lm="another.arpa")
    with pytest.raises(SpeechkitError, match=r"differ in lm \(another.arpa and lm.arpa\)"):
        select([one, other], tmp_path / "out")
    with pytest.raises(SpeechkitError, match="does not exist"):
        select([one, tmp_path / "missing"], tmp_path / "out")
