"""The three commands in a row, as a recipe runs them: relative paths, spaces, letters beyond ASCII."""

import shutil
from pathlib import Path

import pytest
from fake_corpora import fake_digits, fake_timit

from speechkit.cli import main
from speechkit.data.manifests import read_cuts


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe's folder, which is the working directory, beside corpora."""
    folder = tmp_path / "egs" / "zwei Wörter"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SPEECHKIT_LOG", raising=False)
    fake_timit(tmp_path / "corpora" / "tä mit")
    fake_digits(tmp_path / "corpora" / "digits", speakers=("ann", "bob"))
    return folder


def run(command: str, *options: str) -> int:
    return main([*command.split(), *options])


def test_from_corpus_to_features(recipe: Path) -> None:
    (recipe / "features.yaml").write_text("fbank:\n  num_bins: 40\n")
    assert run("prepare --corpus timit --out data/manifests --in", "../../corpora/tä mit") == 0
    assert run("validate --in data/manifests --out data/valid --nj 1") == 0
    assert run("features --in data/valid --out data/fbank --nj 1 --config features.yaml --speeds 1.0,1.1") == 0
    shutil.move(recipe, recipe.parent / "moved")  # paths in the manifests are relative, so a moved recipe works
    cuts = list(read_cuts(recipe.parent / "moved" / "data" / "fbank" / "cuts_train.jsonl.gz"))
    assert len(cuts) == 24
    assert cuts[0].load_features().shape == (48, 40)
    assert cuts[0].load_audio().shape == (1, 8000)


def test_corpus_options(recipe: Path) -> None:
    command = "prepare --corpus digits --in ../../corpora/digits --out data/manifests --nj 1"
    assert run(command, "--test-speakers", "bob", "--train-passes", "1") == 0
    assert run("validate --in data/manifests --out data/valid --nj 1") == 0
    speakers = {cut.supervisions[0].speaker for cut in read_cuts(recipe / "data" / "valid" / "cuts_test.jsonl.gz")}
    assert speakers == {"bob"}


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("prepare --corpus timit --in nowhere --out out", 1, "nowhere does not exist"),
        ("prepare --corpus timit --in ../../corpora/digits --out out", 1, "looks like the Free Spoken Digit Dataset"),
        ("prepare --corpus tmit --in nowhere --out out", 2, "did you mean 'timit'?"),
        ("prepare --corpus timit --in ../../corpora --out out --train-passes 2", 2, "no option of corpus 'timit'"),
        ("prepare --corpus digits --in ../../corpora/digits --out out --train-passes x", 2, "cannot be 'x'"),
        ("prepare --corpus digits --in ../../corpora/digits --out out --test-speakers anne", 2, "did you mean 'ann'?"),
        ("prepare --corpus digits --in ../../corpora/digits --out out --nj 0", 2, "--nj must be at least 1"),
        ("prepare --corpus timit --in ../../corpora --out out --train-sets si84", 2, "no option of corpus 'timit'"),
        ("prepare --corpus wsj --in ../../corpora --out out --train-sets ,", 2, "--train-sets cannot be ','"),
        ("prepare --corpus wsj --in ../../corpora/digits --out out", 1, "is not WSJ: no index file"),
        ("prepare --corpus librispeech --in ../../corpora --out out --dev-sets devclean", 2, "mean 'dev-clean'?"),
        ("prepare --corpus librispeech --in ../../corpora/digits --out out", 1, "is not LibriSpeech: no folder such"),
        ("prepare --corpus aishell --in ../../corpora/digits --out out", 1, "is not AISHELL-1: no folder data_aishell"),
        ("validate --in nowhere --out out", 1, "run `speechkit prepare`"),
        ("validate --in nowhere --out out --max-bad-ratio 5", 2, "between 0 and 1"),
        ("features --in nowhere --out out", 1, "run `speechkit validate`"),
        ("features --in nowhere --out out --set fbank.numbins=3", 2, "did you mean 'num_bins'?"),
        ("features --in nowhere --out out --speeds fast", 2, "speeds"),
        ("features --in nowhere --out out --set fbank.num_bins=500", 2, "leaves mel filters empty"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_nothing(
    recipe: Path, capfd: pytest.CaptureFixture[str], command: str, code: int, message: str
) -> None:
    assert run(command) == code
    shown = capfd.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (recipe / "out").exists()
