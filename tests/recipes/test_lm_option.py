"""What `--lm` makes of recipes, as `--dry-run` shows it."""

from pathlib import Path

import pytest
from dry_run import EGS, commands, dry_run, of, value

NAMES = ("none", "4gram", "word-convlm", "char-convlm")


def test_every_model_of_wsj_has_its_own_search_tuned_on_dev() -> None:
    folders = set()
    for name in NAMES:
        found = commands("wsj", "--lm", name)
        decodings = of(found, "decode")
        assert [value(each, "--method") for each in decodings[:2]] == ["greedy", "greedy"]
        assert len(of(found, "score")) == len(decodings)
        if name == "none":
            assert len(decodings) == 2
            assert not of(found, "lm") + of(found, "graph")
            continue
        dev, test = decodings[2:]
        assert value(dev, "--method") == value(test, "--method") == "beam"
        assert "--sweep" in dev
        assert value(test, "--weights") == f"{value(dev, '--out')}/weights.json"
        assert value(dev, "--lm") == value(test, "--lm")
        made = {value(each, "--out") for each in of(found, "ngram")} | {
            value(each, "--out") for each in of(found, "lm")
        }
        assert value(dev, "--lm").removesuffix("/final") in made
        assert not of(found, "graph")
        folders |= {value(dev, "--out"), value(test, "--out")}
    assert len(folders) == 6


def test_the_4gram_is_one_and_lies_beside_others() -> None:
    (named,) = of(commands("wsj", "--lm", "4gram"), "ngram")
    (plain,) = of(commands("wsj"), "ngram")
    assert value(named, "--order") == "4"
    assert value(named, "--out") != value(plain, "--out")
    graph = of(commands("wsj", "--lm", "4gram", "--decode", "wfst"), "graph")
    assert [value(each, "--lm") for each in graph] == [value(named, "--out")]


def test_neural_models_take_their_own_configuration(tmp_path: Path) -> None:
    (model,) = of(commands("wsj", "--lm", "char-convlm"), "lm")
    assert value(model, "--config") == "conf/lm_char-convlm.yaml"
    other = EGS / "wsj/conf/paper/lm_char-convlm.yaml"
    (model,) = of(commands("wsj", "--lm", "char-convlm", "--lm-config", str(other)), "lm")
    assert value(model, "--config") == "conf/paper/lm_char-convlm.yaml"


def test_files_are_searched_as_before(tmp_path: Path) -> None:
    ngram = tmp_path / "my ngram.arpa"
    ngram.write_text("")
    found = commands("timit", "--lm", str(ngram), "--decode", "beam")
    assert {value(each, "--lm") for each in of(found, "decode")} == {str(ngram)}


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("wsj", ["--lm", "word-convln"], "unknown 'word-convln', did you mean 'word-convlm'?"),
        ("timit", ["--lm", "nowhere.arpa"], "choose from: none 4gram or an existing file"),
        ("wsj", ["--lm", "none", "--decode", "beam"], "leave out --decode beam"),
        ("wsj", ["--lm", "none", "--rescore", "transformer"], "needs a search for n-best lists"),
        ("wsj", ["--lm", "4gram", "--ngram-order", "3"], "--lm 4gram and --ngram-order choose the same"),
        ("wsj", ["--lm", "word-convlm", "--decode", "wfst"], "--lm word-convlm goes with beam search"),
        ("wsj", ["--lm", "char-convlm", "--rescore", "transformer"], "without --rescore"),
    ],
)
def test_what_does_not_go_together_is_one_line(recipe: str, options: list[str], words: str) -> None:
    result = dry_run(recipe, *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
