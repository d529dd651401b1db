"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0


def progress(iterable: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
    """Pass the items on while showing how many of `total` are done and how long the rest will take."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(iterable, total=total, desc=description, leave=False, dynamic_ncols=True)
    else:
        yield from _lines(iterable, total, description)


def _lines(iterable: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    start = last = time.monotonic()
    for count, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and count != total:
            last = now
            rest = f" of {total}, {(now - start) / count * (total - count):.0f} s left" if total else ""
            log.info("%s: %d%s", description, count, rest)
