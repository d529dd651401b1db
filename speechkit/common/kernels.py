"""Functions compiled by numba, and the cache of what was compiled."""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)
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

    announced: list[str] = []
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()

    class Cache(FunctionCache):
        def __init__(self, function: Any) -> None:
            super().__init__(function)
            # What was written under another version is not even unpickled: it may name classes that are gone.
            self._cache_file._version += f" {digest}"
            self._function = function.__name__

        def load_overload(self, *arguments: Any) -> Any:
            found = super().load_overload(*arguments)
            if found is None and not announced:
                announced.append(self._function)
                log.info("compiling %s and what comes with it: up to a minute, once", self._function)
            return found

    def compile_later(function: Function) -> Function:
        compiled = numba.njit(nogil=True, error_model="numpy", **options)(function)
        # Where neither the folder of the code nor that of the user can be written, every process compiles anew.
        with contextlib.suppress(RuntimeError):
            compiled._cache = Cache(function)
        result: Function = compiled
        return result

    return compile_later
