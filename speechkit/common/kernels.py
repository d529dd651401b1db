"""Functions compiled by numba, and the cache of what was compiled."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def compiler(sources: Iterable[Path], **options: Any) -> Callable[[Function], Function]:
    """A decorator that compiles at the first call, keeps the result on disk, and runs outside Python's global lock.

    Args:
        sources: all files whose functions call each other. What was compiled counts only while all of them are as they
            were: numba by itself overlooks changes in files other than the function's own.
        options: further options of `numba.njit`.
    """
    import numba
    from numba.core.caching import FunctionCache

    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()

    class Cache(FunctionCache):
        def __init__(self, function: Any) -> None:
            super().__init__(function)
            # What was written under another version is not even unpickled: it may name classes that are gone.
            self._cache_file._version += f" {digest}"

    def compile_later(function: Function) -> Function:
        compiled = numba.njit(nogil=True, error_model="numpy", **options)(function)
        compiled._cache = Cache(function)
        result: Function = compiled
        return result

    return compile_later
