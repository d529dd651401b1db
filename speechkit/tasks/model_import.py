"""Models of Hugging Face, torchaudio and fairseq as checkpoints of this toolkit, compared before they are written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.features.cmvn import Cmvn
from speechkit.interop.architecture import Hints, Method
from speechkit.interop.checkpoint import Model, with_blank_first
from speechkit.interop.fairseq import read_fairseq
from speechkit.interop.huggingface import read_huggingface, read_symbols
from speechkit.interop.reference import Reference
from speechkit.interop.torchaudio_state import read_torchaudio
from speechkit.models.hubert import HubertConfig
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from speechkit.models.wav2vec2 import Wav2Vec2Config
from speechkit.nn.quantise import QuantiserConfig
from speechkit.tasks.model_comparison import fill, outputs, require_equal, require_free, speech
from speechkit.tasks.pretrain import PretrainConfig, save_pretrained
from speechkit.tasks.recognizer import CtcConfig, Recognizer
from speechkit.text.lang import Lang
from speechkit.text.lexicon import Lexicon
from speechkit.text.lines import numbered_lines
from speechkit.text.tokens import BLANK, WORD_BOUNDARY, TokenTable
from speechkit.train.checkpoint import TASK

log = logging.getLogger(__name__)
Format = Literal["huggingface", "torchaudio", "fairseq"]
FAIRSEQ_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # stand before the symbols of its dictionary files


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a checkpoint does not say, and what it is compared on.

    Attributes:
        hints: see there.
        method: how the model was pre-trained, for torchaudio.
        tokens: file with the symbols of the outputs, one a line, what else is on a line does not count.
        lexicon: words that a search with a language model may find, spelled in tokens.
        audio: speech to compare on.
    """

    hints: Hints = Hints()
    method: Method | None = None
    tokens: Path | None = None
    lexicon: Path | None = None
    audio: Path | None = None


def import_model(kind: Format, source: Path, out: Path, options: ImportOptions) -> None:
    """Read a model, compare it with another toolkit's own, and write what `load_encoder` or `Recognizer.load` reads.

    Raises:
        SpeechkitError: the model is of another kind, or gives other outputs; then nothing is written.
    """
    require_free(out, TASK)
    model, reference, carried = _read(kind, source, options)
    encoder = SpeechEncoderConfig(extractor=model.extractor, transformer=model.transformer)
    symbols, blank = _symbols(kind, source, options.tokens, carried, model)
    waveform = speech(options.audio, encoder.sampling_rate)
    if reference.name != kind.replace("huggingface", "transformers"):
        log.info("%s is not installed: the tensors are run in the model of %s", kind, reference.name)
    require_equal(outputs(encoder, model.encoder, model.output, waveform), reference, waveform, encoder.sampling_rate)
    module = SpeechEncoder(encoder)
    fill(module, model.encoder)
    if "time_mask.vector" not in model.encoder:
        log.info("the checkpoint lacks the vector of masked frames; it starts at random")
    weights = {f"encoder.{name}": each for name, each in module.state_dict().items()}
    if model.output is None:
        config, heads = _pretrained(model, encoder)
        save_pretrained(out, config, weights | heads)
    else:
        output = {f"output.{name}": each for name, each in with_blank_first(model.output, blank).items()}
        others = [*symbols[:blank], *symbols[blank + 1 :]]
        recognizer = Recognizer(_finetuned(encoder), _lang(others, options.lexicon), Cmvn())
        recognizer.module.load_state_dict(weights | output)
        recognizer.save(out, weights | output)
        if options.lexicon is None:
            log.info("without --lexicon it decodes greedily only: a search with a language model needs words")
    what = f"{model.method} with {len(symbols)} tokens" if symbols else model.method
    log.info("%s, %d layers of %d: written to %s", what, model.transformer.layers, model.transformer.dim, out)


def _read(kind: Format, source: Path, options: ImportOptions) -> tuple[Model, Reference, list[str] | None]:
    """The model, what it is compared with, and the symbols of its outputs where the checkpoint holds them itself."""
    if kind == "huggingface":
        return (*read_huggingface(source, options.hints), None)
    if kind == "torchaudio":
        return (*read_torchaudio(source, options.method, options.hints), None)
    return read_fairseq(source, options.hints)


def _pretrained(model: Model, encoder: SpeechEncoderConfig) -> tuple[PretrainConfig, dict[str, Tensor]]:
    """Configuration and heads of a model that can go on with pre-training, where all of them are there."""
    heads = model.heads
    if model.method == "wav2vec2":
        quantiser = QuantiserConfig()
        if "quantiser.codebooks" in heads:
            groups, entries, size = heads["quantiser.codebooks"].shape
            out_dim = len(heads["quantiser.output.weight"])
            quantiser = replace(quantiser, groups=groups, entries=entries, entry_dim=size, out_dim=out_dim)
        return PretrainConfig(method="wav2vec2", wav2vec2=Wav2Vec2Config(encoder=encoder, quantiser=quantiser)), heads
    hubert = replace(HubertConfig(), encoder=replace(HubertConfig().encoder, **_sizes(encoder)))
    if "heads.0.classes" in heads and heads["heads.0.classes"].shape[1] == len(heads["heads.0.projection.weight"]):
        return PretrainConfig(
            method="hubert", hubert=replace(hubert, final_dim=heads["heads.0.classes"].shape[1])
        ), heads
    return PretrainConfig(method="hubert", hubert=hubert), {}


def _sizes(encoder: SpeechEncoderConfig) -> dict[str, Any]:
    return {"extractor": encoder.extractor, "transformer": encoder.transformer}


def _finetuned(encoder: SpeechEncoderConfig) -> CtcConfig:
    config = CtcConfig()
    return replace(config, encoder=config.finetune.applied(encoder))


def _symbols(
    kind: Format, source: Path, tokens: Path | None, carried: list[str] | None, model: Model
) -> tuple[list[str], int]:
    """The symbols of the outputs, none of a pre-trained model, in order, and which of them is the blank."""
    if model.output is None:
        return [], 0
    rows = len(model.output["weight"])
    if kind == "huggingface":
        return read_symbols(source, rows)
    if tokens is not None:
        carried = [line.split()[0] for _, line in numbered_lines(tokens, "correct --tokens") if line.split()]
        if kind == "fairseq" and len(carried) == rows - len(FAIRSEQ_SPECIAL):
            carried = [*FAIRSEQ_SPECIAL, *carried]
        if len(carried) == rows - 1:
            carried = [BLANK, *carried]
    if carried is None:
        raise SpeechkitError(f"{source} does not hold the {rows} symbols of its outputs; name a file with --tokens")
    if len(carried) != rows:
        raise SpeechkitError(f"{tokens or source} holds {len(carried)} symbols for {rows} outputs; correct --tokens")
    return carried, 0


def _lang(symbols: Sequence[str], lexicon: Path | None) -> Lang:
    """How symbols make words: with `|` between, each character by itself, or each symbol by itself."""
    table, words = TokenTable(symbols), Lexicon.read(lexicon) if lexicon else Lexicon([])
    unknown = [token for token in words.tokens if token not in table]
    if unknown:
        raise SpeechkitError(f"{lexicon} spells with '{unknown[0]}', which is no token of the model; correct --lexicon")
    spoken = [each for each in symbols if not each.startswith("<")]
    if WORD_BOUNDARY in spoken:
        return Lang("char", table, words)
    if all(len(each) == 1 for each in spoken):
        return Lang("char", table, words, boundary="none")
    return Lang("word", table, words)
