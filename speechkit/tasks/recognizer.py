"""A trained acoustic model with all that its use needs: configuration, language, normalisation of features."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.config.load import from_dict, to_dict
from speechkit.data.augment import AugmentConfig
from speechkit.data.batches import Batch, BatchConfig, FeatureDataset, Fields, stored_features
from speechkit.data.from_audio import AudioConfig
from speechkit.data.waveforms import Waveforms
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.fsa.wfst.graph import Topology
from speechkit.metrics.edit import edit_counts
from speechkit.models.acoustic import AcousticModel, AcousticModelConfig
from speechkit.models.convolutional import ConvModel, ConvModelConfig
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.models.wav2vec_u import Generator, GeneratorConfig
from speechkit.nn.masking import SpanMaskConfig
from speechkit.tasks.lfmmi import LfmmiConfig, Words
from speechkit.tasks.objective import LossName
from speechkit.tasks.pretrain import fine_tunable, load_pretrained
from speechkit.text.lang import Lang
from speechkit.text.phones import fold
from speechkit.train.checkpoint import MODEL, TASK, load_module, save_folder
from speechkit.train.trainer import TrainConfig


def _channel_mask() -> SpanMaskConfig:
    return SpanMaskConfig(probability=0.008, length=64, least=0)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What a pre-trained encoder is fine-tuned with, in place of what it was pre-trained with.

    The output layer alone learns in the first `head_updates` (10,000 in the paper), the extractor never (wav2vec 2.0,
    section 4.3). The mask probabilities are those of a frame, or channel, to begin a span.
    """

    head_updates: int = 0
    time_mask: SpanMaskConfig = field(default_factory=lambda: SpanMaskConfig(probability=0.065, length=10))
    channel_mask: SpanMaskConfig = field(default_factory=_channel_mask)
    layer_drop: float = 0.05
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.1
    input_dropout: float = 0.0

    def applied(self, encoder: SpeechEncoderConfig) -> SpeechEncoderConfig:
        """The encoder of a pre-training as it is fine-tuned."""
        names = ("layer_drop", "dropout", "attention_dropout", "activation_dropout")
        return replace(
            encoder,
            extractor=replace(encoder.extractor, gradient_scale=0.0),
            transformer=replace(encoder.transformer, **{name: getattr(self, name) for name in names}),
            input_dropout=self.input_dropout,
            time_mask=self.time_mask,
            channel_mask=self.channel_mask,
        )


@dataclass(frozen=True, kw_only=True)
class CtcConfig:
    """Everything that decides what a training does, besides its data and its seed.

    The `loss` "lfmmi" takes its settings from `lfmmi`; models of either loss are decoded in the same ways. With
    `encoder` the model is one that reads waveforms, which `initialised` fills in from a pre-trained model and
    `finetune`. Otherwise it reads features, and is `generator` (that of wav2vec-U) or `conv` if that is there, else
    `model`. With `audio` the training set is read from audio with noise and rooms, and features are computed from it;
    without it stored ones are read.
    """

    loss: LossName = "ctc"
    lfmmi: LfmmiConfig = field(default_factory=LfmmiConfig)
    model: AcousticModelConfig = field(default_factory=AcousticModelConfig)
    conv: ConvModelConfig | None = None
    generator: GeneratorConfig | None = None
    encoder: SpeechEncoderConfig | None = None
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    audio: AudioConfig | None = None
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def of_features(self) -> AcousticModelConfig | ConvModelConfig | GeneratorConfig:
        """The model that reads features."""
        return self.generator or self.conv or self.model


def initialised(config: CtcConfig, checkpoint: Path) -> tuple[CtcConfig, dict[str, Tensor]]:
    """The configuration with the encoder of a pre-trained model, and that encoder's weights."""
    pretrained, weights = load_pretrained(checkpoint)
    return replace(config, encoder=config.finetune.applied(fine_tunable(pretrained, checkpoint))), weights


class Recognizer:
    """An acoustic model with its configuration, language and normalisation, which is empty for one of waveforms."""

    def __init__(self, config: CtcConfig, lang: Lang, cmvn: Cmvn) -> None:
        self.config, self.lang, self.cmvn = config, lang, cmvn
        normalise = config.loss != "lfmmi" or config.lfmmi.normalise
        self.module: AcousticModel | ConvModel | Generator | FinetunedEncoder
        if config.encoder is not None:
            self.module = FinetunedEncoder(config.encoder, len(lang.tokens), log_softmax=normalise)
            return
        _require_columns(config, cmvn)
        if config.generator is not None:
            self.module = Generator(config.generator, len(lang.tokens))
        elif config.conv is not None:
            self.module = ConvModel(config.conv, len(lang.tokens), log_softmax=normalise)
        else:
            self.module = AcousticModel(config.model, len(lang.tokens), log_softmax=normalise)

    def dataset(self, cmvn: Cmvn | None = None, read: Callable[[Any], list[Tensor]] | None = None) -> FeatureDataset:
        """Reader of batches; `cmvn` holds the speakers of another set than the training's.

        Targets lack what has no token: in recognition that is an error like any other.
        """
        if self.config.encoder is not None:
            read = read or Waveforms(self.config.encoder.sampling_rate)
            return FeatureDataset(self.encode_known, Cmvn(), "none", read)
        speakers = Cmvn(self.cmvn.overall, (cmvn or self.cmvn).speakers)
        return FeatureDataset(self.encode_known, speakers, self.config.batches.normalisation, read or stored_features)

    def load_encoder(self, weights: dict[str, Tensor]) -> None:
        """Begin with the encoder of a pre-trained model."""
        assert isinstance(self.module, FinetunedEncoder)
        self.module.encoder.load_state_dict(weights)

    def load_weights(self, folder: Path) -> None:
        """Begin with the weights of a trained model of the same shape and tokens, as a student with its teacher's."""
        other = Recognizer.load(folder)
        if list(other.lang.tokens) != list(self.lang.tokens):
            raise SpeechkitError(f"{folder} has other tokens than the language folder; leave out --start")
        try:
            self.module.load_state_dict(other.module.state_dict())
        except RuntimeError as error:
            raise SpeechkitError(
                f"{folder} is another model than the configuration describes; leave out --start, or correct --config "
                f"({str(error).splitlines()[0]})"
            ) from error

    @property
    def reads_waveforms(self) -> bool:
        """Whether the model takes waveforms, not features."""
        return self.config.encoder is not None

    @property
    def uses_statistics(self) -> bool:
        """Whether features are normalised with the statistics that lie beside them."""
        return not self.reads_waveforms and self.config.batches.normalisation != "none"

    @property
    def topology(self) -> Topology | None:
        """What the model was trained to give between equal tokens, where its configuration says so."""
        return Topology(self.config.lfmmi.topology) if self.config.loss == "lfmmi" else None

    def frame_shift(self, cut: Any) -> float:
        """Seconds from one output frame to the next, on the features of `cut`."""
        if self.config.encoder is not None:
            return 1 / self.config.encoder.frame_rate
        return float(cut.features.frame_shift) * math.prod(self.config.of_features.strides)

    def num_frames(self, cut: Any, speed: float = 1.0) -> int:
        """Output frames of a cut, played that much faster."""
        inputs = cut.num_samples if self.reads_waveforms else cut.features.num_frames
        return int(self.module.output_lengths(torch.tensor([int(inputs / speed)])))

    def encode(self, fields: Fields) -> list[int]:
        """Target token ids of one supervision."""
        return self.lang.encode(fields.get(self.lang.field) or "")

    def encode_known(self, fields: Fields) -> list[int]:
        """The same, without what has no token."""
        return self.lang.encode_known(fields.get(self.lang.field) or "")

    def pronunciations(self, fields: Fields) -> Words:
        """All spellings of each word of one supervision, in token ids, without what has no token."""
        lexicon, tokens = self.lang.lexicon, self.lang.tokens
        return tuple(
            tuple(tuple(tokens.ids(spelling)) for spelling in lexicon.spellings(word))
            if word in lexicon
            else (tuple(self.lang.encode_known(word)),)
            for word in self.lang.reference(fields)
        )

    def scored(self, words: list[str]) -> list[str]:
        """What errors are counted on: TIMIT phones folded to 39, other words as they are."""
        return fold(words, self.lang.scored_phones) if self.lang.scored_phones else words

    def emissions(self, batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Each batch with its log-probabilities `(N, T, V)` and their lengths."""
        for batch, outputs, lengths in self.outputs(batches, device):
            yield batch, outputs.log_softmax(dim=-1), lengths

    def outputs(self, batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Each batch with what the loss sees: log-probabilities, or raw outputs without `lfmmi.normalise`."""
        self.module.to(device).eval()
        with torch.inference_mode():
            for batch in batches:
                outputs, lengths = self.module(batch.features.to(device), batch.lengths.to(device))
                yield batch, outputs.cpu(), lengths.cpu()

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that decoding needs nothing else of."""
        cmvn = self.cmvn.stats().state() if self.uses_statistics else None
        document = {"task": self.config.loss, "config": to_dict(self.config), "lang": self.lang.state(), "cmvn": cmvn}
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "Recognizer":
        """Read what `save` wrote."""
        if not (folder / TASK).is_file():
            raise SpeechkitError(
                f"{folder} is not a trained model ({TASK} is missing); run stage 6, or correct --checkpoint"
            )
        document = read_json(folder / TASK)
        if document.get("task") not in get_args(LossName):
            raise SpeechkitError(f"{folder} is no model of `speechkit train`; correct --checkpoint")
        config = from_dict(CtcConfig, document["config"], str(folder / TASK))
        overall = CmvnStats.from_state(document["cmvn"]) if document["cmvn"] else None
        recognizer = cls(config, Lang.from_state(document["lang"]), Cmvn(overall))
        load_module(recognizer.module, folder / MODEL)
        return recognizer


def _require_columns(config: CtcConfig, cmvn: Cmvn) -> None:
    expected = config.of_features.in_dim
    name = "generator" if config.generator else "conv" if config.conv else "model"
    if cmvn.overall is not None and (columns := len(cmvn.overall.total)) != expected:
        raise SpeechkitError(
            f"the features have {columns} columns, the model reads {expected}; set {name}.in_dim={columns}"
        )


def error_rate(references: list[list[str]], hypotheses: list[list[str]]) -> float:
    """Insertions, deletions and substitutions in percent of the reference's words."""
    return 100 * float(edit_counts(references, hypotheses).sum()) / max(1, sum(map(len, references)))
