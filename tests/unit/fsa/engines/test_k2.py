"""What needs no k2; tests/k2 has the rest."""

import sys

import pytest

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.engines.k2 import load


def test_without_k2_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    with pytest.raises(SpeechkitError, match=r"k2 does not import \(.*\): use --fsa-engine torch, or install it: "):
        load()
