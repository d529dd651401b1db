"""Lets the tests of this folder import its helpers, which pytest's importlib mode does not do by itself."""

import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def numba_knows_numpy() -> None:
    """At its first compilation numba notes what `np.empty` is: that has to be numpy's own."""
    numba.njit(lambda size: np.empty(size))(1)


@pytest.fixture
def dirty_memory(numba_knows_numpy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`np.empty` is full of what no result may depend on."""
    empty = np.empty

    def dirty(shape: Any, dtype: Any = np.float64, **layout: Any) -> Any:
        array = empty(shape, dtype, **layout)
        array[...] = np.nan if np.issubdtype(array.dtype, np.floating) else array.dtype.type(1) << 20
        return array

    monkeypatch.setattr(np, "empty", dirty)
