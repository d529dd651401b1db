"""A BERT-ASR model as recipes use it: with its characters and the normalisation of its features."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.common.errors import SpeechkitError
from speechkit.config.load import from_dict, to_dict
from speechkit.data.augment import AugmentConfig
from speechkit.data.batches import Batch, BatchConfig, FeatureDataset, Fields
from speechkit.data.segments import Times, to_frames
from speechkit.features.cmvn import Cmvn, CmvnStats
from speechkit.models.bert_asr import BertAsr, BertAsrModelConfig
from speechkit.tasks.text_bert import TextBertModel
from speechkit.text.bert_vocabulary import BertVocabulary
from speechkit.train.checkpoint import MODEL, TASK, load_module, read_document, save_folder
from speechkit.train.trainer import TrainConfig

NAME = "bert-asr"


@dataclass(frozen=True, kw_only=True)
class BertAsrConfig:
    """Everything that decides what a training does, besides its data, its BERT and its seed.

    `model.bert` is that of the BERT that the training begins with. Two things that the paper has not make a model ready
    for recognition: `corrupt` is the share of the characters before that are exchanged for others, and `jitter` the
    greatest standard deviation, in seconds, of noise on the times of segments, each utterance having its own.
    """

    model: BertAsrModelConfig = field(default_factory=BertAsrModelConfig)
    corrupt: float = 0.0
    jitter: float = 0.0
    batches: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def characters(fields: Fields) -> list[str]:
    """What is said in one utterance: its text without the spaces."""
    return [*"".join((fields.get("text") or "").split())]


class BertAsrModel:
    """A BERT-ASR model with its configuration, characters and normalisation of features."""

    def __init__(self, config: BertAsrConfig, vocabulary: BertVocabulary, cmvn: Cmvn) -> None:
        self.config, self.vocabulary, self.cmvn = config, vocabulary, cmvn
        expected = config.model.acoustic.in_dim
        if cmvn.overall is not None and (columns := len(cmvn.overall.total)) != expected:
            raise SpeechkitError(
                f"the features have {columns} columns, the model reads {expected}; set model.acoustic.in_dim={columns}"
            )
        self.module = BertAsr(config.model, len(vocabulary), vocabulary.cls, vocabulary.mask)

    @classmethod
    def of(cls, config: BertAsrConfig, bert: TextBertModel, cmvn: Cmvn, *, pretrained: bool) -> "BertAsrModel":
        """One that is to be trained, with the sizes and characters of a BERT and, if `pretrained`, its weights."""
        sizes = replace(bert.config.model, dropout=config.model.bert.dropout)
        model = cls(replace(config, model=replace(config.model, bert=sizes)), bert.vocabulary, cmvn)
        if pretrained:
            model.module.bert.load_state_dict(bert.module.state_dict())
        return model

    def encode(self, fields: Fields) -> list[int]:
        """Tokens of one supervision, a character that has none as [UNK]."""
        return self.vocabulary.encode(characters(fields))

    def takes(self, count: int, frames: int) -> bool:
        """Whether so many segments fit into an utterance's features, and with [CLS] into BERT's positions."""
        return count <= frames and count < self.config.model.bert.positions

    def dataset(self, cmvn: Cmvn | None = None) -> FeatureDataset:
        """Reader of batches; `cmvn` holds the speakers of another set than the training's."""
        speakers = Cmvn(self.cmvn.overall, (cmvn or self.cmvn).speakers)
        return FeatureDataset(self.encode, speakers, self.config.batches.normalisation)

    def save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write a checkpoint that recognition needs nothing else of but segments."""
        document = {
            "task": NAME,
            "config": to_dict(self.config),
            "vocabulary": list(self.vocabulary.tokens),
            "cmvn": self.cmvn.stats().state(),
        }
        save_folder(folder, {MODEL: weights}, {TASK: document})

    @classmethod
    def load(cls, folder: Path) -> "BertAsrModel":
        """Read what `save` wrote.

        Raises:
            SpeechkitError: the folder holds no BERT-ASR model, or a damaged one.
        """
        document = read_document(folder, NAME, "is not a BERT-ASR model; `speechkit bert-asr` writes one to OUT/final")
        config = from_dict(BertAsrConfig, document["config"], str(folder / TASK))
        model = cls(config, BertVocabulary(document["vocabulary"]), Cmvn(CmvnStats.from_state(document["cmvn"])))
        load_module(model.module, folder / MODEL)
        return model


def segment_frames(
    batch: Batch, segments: dict[str, Times], frame_shift: float, jitter: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The segments of a batch's utterances as frames `(N, S, 2)`, 0 where there are none, and their counts `(N,)`."""
    found = []
    for name, frames in zip(batch.ids, batch.lengths.tolist(), strict=True):
        times = segments[name]
        if jitter:
            times = times + (jitter * torch.rand(()) * torch.randn(times.shape)).numpy()
        found.append(torch.from_numpy(to_frames(times, frame_shift, frames)))
    return pad_sequence(found, batch_first=True), torch.tensor([len(each) for each in found])
