"""A BERT of Hugging Face as a checkpoint of this toolkit, compared before it is written."""

import dataclasses
import logging
from pathlib import Path

import torch

from speechkit.common.errors import SpeechkitError
from speechkit.interop.bert import Bert, read_bert, reference_outputs
from speechkit.interop.reference import TOLERANCE, Outputs, largest_difference
from speechkit.models.text_bert import TextBert, TextBertConfig
from speechkit.nn.lengths import Packing
from speechkit.tasks.model_comparison import require_free
from speechkit.tasks.text_bert import TextBertModel, TextBertTrainConfig
from speechkit.text.bert_vocabulary import BertVocabulary
from speechkit.train.checkpoint import TASK

log = logging.getLogger(__name__)
VOCABULARY = "vocab.txt"
COMPARED = (20, 13)  # tokens of two sequences


def import_bert(source: Path, out: Path) -> None:
    """Read the BERT of a folder, compare it with transformers', and write what `TextBertModel.load` reads.

    Raises:
        SpeechkitError: a file is missing or of another model, or transformers gives other outputs; then nothing is
            written.
    """
    require_free(out, TASK)
    found = read_bert(source)
    vocabulary = BertVocabulary.read(source / VOCABULARY)
    rows = len(found.weights["tokens.weight"])
    if len(vocabulary) != rows:
        raise SpeechkitError(
            f"{source / VOCABULARY} holds {len(vocabulary)} tokens for a model of {rows}; fetch both anew"
        )
    model = TextBertModel(_config(found), vocabulary)
    _fill(model.module, found, source)
    _require_equal(model.module, source)
    model.save(out, model.module.state_dict())
    log.info(
        "BERT of %d layers of %d, %d tokens, %d positions: written to %s",
        found.sizes.layers, found.sizes.dim, rows, model.config.model.positions, out,
    )  # fmt: skip


def _config(found: Bert) -> TextBertTrainConfig:
    positions = len(found.weights["positions.weight"])
    config = TextBertConfig(**dataclasses.asdict(found.sizes), positions=positions)
    return TextBertTrainConfig(model=config, longest=min(TextBertTrainConfig().longest, positions))


def _fill(module: TextBert, found: Bert, source: Path) -> None:
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in found.weights:
            raise SpeechkitError(f"{source} lacks the tensor of {name}; fetch it again")
        if found.weights[name].shape != tensor.shape:
            shapes = tuple(found.weights[name].shape), tuple(tensor.shape)
            raise SpeechkitError(f"{source}: {name} is of shape {shapes[0]}, not {shapes[1]}: it is no BERT")
    module.load_state_dict({name: found.weights[name] for name in wanted})


def _require_equal(module: TextBert, source: Path) -> None:
    """Log the largest difference of hidden states and logits to those of transformers, which may not be large."""
    width = min(max(COMPARED), module.config.positions)
    lengths = torch.tensor(COMPARED).clamp(max=width)
    tokens = torch.randint(len(module.bias), (len(lengths), width), generator=torch.Generator().manual_seed(0))
    theirs = reference_outputs(source, tokens, lengths)
    difference = largest_difference(_outputs(module, tokens, lengths), theirs)
    if not difference < TOLERANCE:
        raise SpeechkitError(
            f"the BERT of {source} gives other outputs in transformers: they differ by up to {difference:.2g}; nothing "
            "was written"
        )
    log.info(
        "compared with transformers, in double precision: hidden states and logits differ by at most %.1e", difference
    )


def _outputs(module: TextBert, tokens: torch.Tensor, lengths: torch.Tensor) -> Outputs:
    """In double precision; the module is left as it was."""
    double = TextBert(module.config, len(module.bias)).double().eval()
    double.load_state_dict(module.state_dict())
    packing = Packing.of(lengths, tokens.shape[1])
    with torch.inference_mode():
        layers = [packing.pack(each) for each in double.layers(tokens, lengths)]
        last = packing.pack(double(tokens, lengths))
        return Outputs(layers[:-1], last, double.predict(last))
