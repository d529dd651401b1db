"""Miniature corpora: synthesised speech in the layout and file formats of a real corpus.

`make(corpus, size, out, seed, num_jobs)` writes one. A corpus is one module here (`timit`, `digits`, `aishell`, `wsj`,
`librispeech`) that plans who says what and writes one utterance's files; voices, rooms, sentences, phone boundaries and
parallel work are shared.
"""

from speechkit.data.miniature.make import CORPORA, MARKER, SIZES, Summary, make

__all__ = ["CORPORA", "MARKER", "SIZES", "Summary", "make"]
