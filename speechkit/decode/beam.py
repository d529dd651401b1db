"""Beam search with a language model, an n-gram or a neural one, by flashlight-text and KenLM.

Units that are words themselves (phones of phone recognition, word tokens) are
searched without a lexicon; spelled words through a trie of the lexicon with the
best LM score below each node (max smearing). Hypotheses that meet keep the
better score. Weights multiply log10 probabilities of n-grams and natural logs
of neural models, so the papers' values for flashlight and wav2letter decoders
carry over.
"""

import contextlib
import importlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import require_file
from speechkit.decode.fusion import MOST_BYTES, Prefix, PrefixTree, TokenModel, fused_model
from speechkit.text.lang import Lang
from speechkit.text.pieces import WORD_START
from speechkit.text.repetitions import unfolded
from speechkit.text.tokens import WORD_BOUNDARY

BLANK_ID = 0
NEVER = -1e4  # log-probability


@dataclass(frozen=True, kw_only=True)
class Weights:
    """`lm` multiplies the LM's log10 probability, `word` is added once per word (natural-log scale).

    `neural` multiplies the natural-log probability of a neural LM, which lists have that were searched or rescored with
    one. So the papers' weights, of KenLM in flashlight and of fairseq's models, carry over.
    """

    lm: float = 1.0
    word: float = 0.0
    neural: float = 0.0

    def values(self) -> dict[str, float]:
        """The weights by name, without that of a neural LM where it is 0."""
        return {name: value for name, value in asdict(self).items() if name != "neural" or value}


@dataclass(frozen=True, kw_only=True)
class BeamConfig:
    """Hypotheses kept per frame, best tokens tried per frame, and the largest score difference to the best."""

    size: int = 50
    tokens: int = 30
    threshold: float = 25.0


@dataclass(frozen=True)
class Hypothesis:
    """Words of one final hypothesis with its acoustic (natural log), LM (log10) and neural LM (natural log) score."""

    words: list[str]
    acoustic: float
    lm: float
    neural: float = 0.0

    def score(self, weights: Weights) -> float:
        """The weighted sum that decoding maximises."""
        language = weights.lm * self.lm + weights.neural * self.neural
        return self.acoustic + language + weights.word * len(self.words)


class BeamSearch:
    """Searches one utterance at a time.

    Spelled words have to end in the boundary `|` or the blank: a CTC trie search cannot stay on the last token of a
    word. Pieces have no boundary, so their words may end on the first frame of their last piece, or with a blank.

    Args:
        lm: an n-gram that KenLM reads, or a neural model.

    Raises:
        SpeechkitError: flashlight-text or the LM is missing.
    """

    def __init__(self, lang: Lang, lm: Path | TokenModel, beam: BeamConfig) -> None:
        if isinstance(lm, Path):
            require_file(lm, "run stage 2, or decode with --method greedy")
        self.lang, self.beam = lang, beam
        self.decoder = _flashlight("decoder")
        self.spelled = any(spelling != (word,) for word, spelling in lang.lexicon.entries)
        self.vocabulary = _flashlight("dictionary").Dictionary()
        for name in dict.fromkeys(word for word, _ in lang.lexicon.entries) if self.spelled else lang.tokens:
            self.vocabulary.add_entry(name)
        self.unknown = self.vocabulary.index_size()
        self.vocabulary.add_entry("<unk>")
        self.tree = None if isinstance(lm, Path) else PrefixTree(lm)
        self.lm = self._language_model(lm) if isinstance(lm, Path) else self._fused_model()
        self.trie = self._trie() if self.spelled else None

    @property
    def is_neural(self) -> bool:
        """Whether the LM is a neural one."""
        return self.tree is not None

    def _language_model(self, path: Path) -> Any:
        reader = _flashlight("kenlm").KenLM
        try:
            with _silenced_stderr():  # KenLM reports its loading there, line by line
                return reader(str(path), self.vocabulary)
        except RuntimeError as error:
            raise SpeechkitError(
                f"{path} is not an n-gram of order 2 or more that KenLM reads; estimate it again "
                f"({str(error).splitlines()[-1]})"
            ) from error

    def _fused_model(self) -> Any:
        assert self.tree is not None
        size = self.vocabulary.index_size()
        return fused_model(self.decoder, self.tree, [self.vocabulary.get_entry(index) for index in range(size)])

    def _trie(self) -> Any:
        trie = self.decoder.Trie(len(self.lang.tokens), self._boundary())
        entries = list(self.lang.lexicon.entries)
        for (word, spelling), score in zip(entries, self._first_scores([word for word, _ in entries]), strict=True):
            index = self.vocabulary.get_index(word)
            tokens = self.lang.tokens.ids(list(spelling))
            trie.insert(tokens, index, score)
            if self.lang.pieces:
                trie.insert([*tokens, BLANK_ID], index, score)
        trie.smear(self.decoder.SmearingMode.MAX)
        return trie

    def _first_scores(self, words: Sequence[str]) -> list[float]:
        """LM scores of words at the beginning of a sentence, where the trie takes those of all histories from."""
        if self.tree is not None:
            return self.tree.model.first_log_probs(words)
        start = self.lm.start(False)
        return [self.lm.score(start, self.vocabulary.get_index(word))[1] for word in words]

    def _boundary(self) -> int:
        return BLANK_ID if self.lang.pieces else self.lang.tokens.ids([WORD_BOUNDARY])[0]

    def search(self, log_probs: npt.NDArray[np.float32], weights: Weights) -> list[Hypothesis]:
        """The final hypotheses of one utterance from `log_probs (T, V)`.

        The search without a lexicon has no word score; `Hypothesis.score` adds it to what was found.
        """
        if len(log_probs) == 0:
            return [Hypothesis([], 0.0, 0.0)]
        emissions = np.ascontiguousarray(self._ended(log_probs), dtype=np.float32)
        if self.tree is not None:
            found = self._fused_search(self._decoder(weights), emissions, self.tree)
            return [Hypothesis(self._words(each), each.emittingModelScore, 0.0, each.lmScore) for each in found]
        found = self._decoder(weights).decode(emissions.ctypes.data, *emissions.shape)
        return [Hypothesis(self._words(each), each.emittingModelScore, each.lmScore) for each in found]

    def decode(self, log_probs: npt.NDArray[np.float32], weights: Weights) -> list[str]:
        """Words of the best hypothesis, none if nothing ends in a whole word."""
        found = self.search(log_probs, weights)
        return max(found, key=lambda each: each.score(weights)).words if found else []

    def _fused_search(self, decoder: Any, emissions: npt.NDArray[np.float32], tree: PrefixTree) -> Any:
        """The same frame by frame: between frames the neural model reads what the beam holds."""
        if tree.bytes > MOST_BYTES:
            tree.clear()
        decoder.decode_begin()
        for frame in emissions:
            decoder.decode_step(frame.ctypes.data, 1, len(frame))
            tree.read(self._held(each, tree) for each in decoder.get_all_final_hypothesis())
        decoder.decode_end()
        return decoder.get_all_final_hypothesis()

    def _held(self, result: Any, tree: PrefixTree) -> Prefix:
        """The beginning of a sentence that a hypothesis stands for, with the letters of the word that it is in."""
        words, begun = self._words(result), ""
        if self.spelled and self.lang.unit != "phone":
            ended = max((place for place, index in enumerate(result.words) if index >= 0), default=0)
            symbols = unfolded(self.lang.tokens.symbols(_collapse(result.tokens[ended:])), self.lang.repetitions)
            begun = "".join(symbols).replace(WORD_BOUNDARY, "").replace(WORD_START, "")
        model = tree.model
        history = tree.follow(tree.root, (token for word in words for token in model.encode_word(word)))
        return tree.follow(history, model.encode_begun(begun))

    def _ended(self, log_probs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """For pieces with a further frame of blank, on which the last word may end."""
        if not self.lang.pieces:
            return log_probs
        blank = np.full((1, log_probs.shape[1]), NEVER, dtype=np.float32)
        blank[0, BLANK_ID] = 0.0
        return np.concatenate([log_probs, blank])

    def _words(self, result: Any) -> list[str]:
        if self.spelled:
            return [self.vocabulary.get_entry(index) for index in result.words if index >= 0]
        return self.lang.words(_collapse(result.tokens))

    def _decoder(self, weights: Weights) -> Any:
        common = {
            "beam_size": self.beam.size,
            "beam_size_token": min(self.beam.tokens, len(self.lang.tokens)),
            "beam_threshold": self.beam.threshold,
            "lm_weight": weights.lm if self.tree is None else weights.neural,
            "sil_score": 0.0,
            "log_add": False,
            "criterion_type": self.decoder.CriterionType.CTC,
        }
        if self.trie is None:
            free = self.decoder.LexiconFreeDecoderOptions(**common)
            return self.decoder.LexiconFreeDecoder(free, self.lm, BLANK_ID, BLANK_ID, [])
        options = self.decoder.LexiconDecoderOptions(**common, word_score=weights.word, unk_score=-math.inf)
        return self.decoder.LexiconDecoder(
            options, self.trie, self.lm, self._boundary(), BLANK_ID, self.unknown, [], False
        )


def _collapse(tokens: list[int]) -> list[int]:
    """Merge repeats and remove blanks from a frame-by-frame path (-1 marks the ends)."""
    pairs = itertools.pairwise([BLANK_ID, *tokens])
    return [token for before, token in pairs if token not in (before, BLANK_ID) and token >= 0]


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Send what C++ code writes to standard error nowhere."""
    with Path(os.devnull).open("w") as sink:
        saved = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _flashlight(module: str) -> Any:
    names = {"decoder": "decoder", "dictionary": "dictionary", "kenlm": "decoder.kenlm"}
    try:
        return importlib.import_module(f"flashlight.lib.text.{names[module]}")
    except ImportError as error:
        raise SpeechkitError(
            f"beam search needs flashlight-text ({error}): `pip install flashlight-text kenlm`, "
            "or decode with --method greedy"
        ) from error
