"""Word pieces of SentencePiece: learned from words and their counts, with exact way back to the words.

Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer" (2018); `bpe` is byte-pair
encoding (Sennrich et al. 2016), `unigram` the unigram language model (Kudo 2018).
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import atomic_path, require_file

KINDS = ("bpe", "unigram")
WORD_START = "▁"
UNKNOWN_ID = 0  # the number of the blank in token tables, so that all other pieces have the same number in both
_QUIET = 2


@dataclass(frozen=True)
class Pieces:
    """A SentencePiece model: the bytes of its file."""

    model: bytes

    @cached_property
    def _processor(self) -> Any:
        return _sentencepiece().SentencePieceProcessor(model_proto=self.model)

    @property
    def symbols(self) -> list[str]:
        """All pieces but the unknown one; piece i of SentencePiece is number i - 1 here."""
        return [self._processor.id_to_piece(index) for index in range(1, len(self._processor))]

    def spelled(self, word: str) -> list[str]:
        """Pieces of one word, of which the first begins with `▁`; characters without a piece are a `SpeechkitError`."""
        pieces: list[str] = self._processor.encode(word, out_type=str)
        unknown = [piece for piece in pieces if self._processor.piece_to_id(piece) == UNKNOWN_ID]
        if unknown:
            letters = sorted({letter for piece in unknown for letter in piece})
            raise SpeechkitError(f"not in the token table: {', '.join(map(repr, letters))}")
        return pieces

    def write(self, path: Path) -> None:
        """Write the file that SentencePiece reads."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.model)

    @classmethod
    def read(cls, path: Path) -> "Pieces":
        """Read what `write` wrote."""
        require_file(path, "run `speechkit lang` (stage 2)")
        return cls(path.read_bytes())


def learn_pieces(kind: str, counts: Mapping[str, int], size: int) -> Pieces:
    """Learn `size` tokens, the blank among them, from the counts of words; their order makes no difference.

    Words are taken as they are: no normalisation, and every character gets a piece.

    Raises:
        UsageError: the words allow no table of that size; the message gives the possible ones.
        SpeechkitError: sentencepiece is missing, or a word holds its mark `▁`.
    """
    marked = next((word for word in counts if WORD_START in word), None)
    if marked is not None:
        raise SpeechkitError(
            f"word '{marked}' holds '{WORD_START}', which marks word starts; normalise the transcripts"
        )
    model = io.BytesIO()
    trainer = _sentencepiece().SentencePieceTrainer
    try:
        trainer.train(
            sentence_iterator=iter(f"{word}\t{count}" for word, count in sorted(counts.items())),
            input_format="tsv",
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,  # how sums are rounded depends on it
            minloglevel=_QUIET,
        )
    except RuntimeError as error:
        raise _impossible_size(size, str(error)) from error
    return Pieces(model.getvalue())


def _impossible_size(size: int, message: str) -> SpeechkitError:
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return UsageError(
            f"--vocab-size {size} is too small for the characters of the text; it takes {found[1]} or more"
        )
    if found := re.search(r"set it to a value <= (\d+)", message):
        return UsageError(f"--vocab-size {size} is too large for so little text; it allows {found[1]} at most")
    return SpeechkitError(f"sentencepiece learns no pieces: {' '.join(message.split())}")


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise SpeechkitError(
            f"word pieces need sentencepiece ({error}): `pip install sentencepiece`, or take --unit char"
        ) from error
    return sentencepiece
