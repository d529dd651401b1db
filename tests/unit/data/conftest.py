"""Lets the tests of this folder import `fake_corpora`, which pytest's importlib mode does not do by itself."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_miniature(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny miniature of a corpus, made once; tests that change it copy it first."""
    from speechkit.data.miniature import make

    @cache
    def of(corpus: str) -> Path:
        return make(corpus, "tiny", tmp_path_factory.mktemp("tiny") / corpus).out

    return of
