"""A fine-tuned encoder as one ONNX file: waveforms of any number and length in, log-probabilities of tokens out.

The file does what the model here does for a padded batch, with operations that ONNX has: convolutions in place of
matrix products over shifted views, and attention over padded utterances with a mask in place of packed frames.
"""

import contextlib
import importlib.util
import json
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechkit.common.errors import SpeechkitError
from speechkit.interop.checkpoint import Model
from speechkit.nn.lengths import Packing, conv_length, valid_mask, zero_padding
from speechkit.nn.transformer import TransformerEncoder
from speechkit.nn.waveform import EPS, FeatureExtractor, normalise_waveforms

OPSET = 18
OLDEST_TORCH = (2, 6)
LARGEST = 2**31 - 2**24  # bytes of weights: a file of protobuf holds 2 GB
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raise `SpeechkitError` where a package is missing, or torch is too old."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        command = shlex.join([sys.executable, "-m", "pip", "install", *missing])
        raise SpeechkitError(f"export to ONNX needs {' and '.join(missing)}; run: {command}")
    if tuple(int(number) for number in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        raise SpeechkitError(f"export to ONNX needs torch 2.6 or newer, and this is {torch.__version__}")


def write_onnx(path: Path, model: Model, tokens: Sequence[str], sampling_rate: int, unit: str) -> None:
    """Write an ONNX file with the model, its tokens and what a user of it must know.

    Inputs are `waveforms (N, S)` in [-1, 1], float32, and `lengths (N,)` in samples, int64; outputs `log_probs
    (N, T, V)`, blank 0 and certain on padding, and `frames (N,)`.

    Raises:
        SpeechkitError: the weights are too many for one file.
    """
    module = _Transcriber(model)
    size = sum(each.numel() * each.element_size() for each in module.state_dict().values())
    if size > LARGEST:
        raise SpeechkitError(f"the model has {size / 2**30:.1f} GiB of weights, an ONNX file holds 2 GiB at most")
    shortest = _receptive_field(model)
    example = (torch.zeros(2, 4 * shortest), torch.tensor([4 * shortest, 3 * shortest]))
    with _quiet():
        program: Any = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["waveforms", "lengths"],
            output_names=["log_probs", "frames"],
            dynamic_shapes={"waveforms": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}},
            verbose=False,
        )
    program.model.metadata_props.update(
        tokens=json.dumps(list(tokens), ensure_ascii=False),
        blank="0",
        unit=unit,
        sampling_rate=str(sampling_rate),
        samples_per_frame=str(model.extractor.hop),
        shortest=str(shortest),
        producer="speechkit",
    )
    program.save(str(path), external_data=False)


def run_onnx(path: Path, waveforms: Tensor, lengths: Tensor) -> npt.NDArray[np.float32]:
    """Log-probabilities `(N, T, V)`, by onnxruntime."""
    onnxruntime = importlib.import_module("onnxruntime")

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()}
    found: npt.NDArray[np.float32] = session.run(["log_probs"], inputs)[0]
    return found


def _receptive_field(model: Model) -> int:
    """Samples that one frame is made of."""
    samples = 1
    for kernel, stride in zip(reversed(model.extractor.kernels), reversed(model.extractor.strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


class _Padded(Packing):
    """Frames laid end to end with those of the padding among them."""

    def pack(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def unpack(self, x: Tensor) -> Tensor:
        return x.view(*self.mask.shape, -1)


class _Transcriber(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        if model.output is None:
            raise SpeechkitError("a model without output layer cannot transcribe; fine-tune it first")
        self.extractor = FeatureExtractor(model.extractor)
        self.norm = nn.LayerNorm(model.extractor.dim)
        self.projection = nn.Linear(model.extractor.dim, model.transformer.dim)
        self.transformer = TransformerEncoder(model.transformer)
        self.output = nn.Linear(model.transformer.dim, len(model.output["weight"]))
        weights = {name: each for name, each in model.encoder.items() if name != "time_mask.vector"}
        self.load_state_dict(weights | {f"output.{name}": each for name, each in model.output.items()})
        self.eval()

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames, lengths = self._extract(waveforms, lengths)
        mask = valid_mask(lengths, frames.shape[1])
        log_probs = self.output(self._encode(self.projection(self.norm(frames)), mask)).log_softmax(dim=-1)
        certain = torch.cat([log_probs.new_zeros(1), log_probs.new_full((log_probs.shape[2] - 1,), -torch.inf)])
        return torch.where(mask.unsqueeze(-1), log_probs, certain), lengths

    def _extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        extractor, config = self.extractor, self.extractor.config
        if config.normalise:
            waveforms = normalise_waveforms(waveforms, lengths)
        x = waveforms.unsqueeze(1)
        for i, (weight, stride) in enumerate(zip(extractor.weights, config.strides, strict=True)):
            x = F.conv1d(x, weight, extractor.biases[i] if config.bias else None, stride)
            lengths = conv_length(lengths, config.kernels[i], stride, 0)
            if config.norm == "layer":
                x = extractor.norms[i](x.transpose(1, 2)).transpose(1, 2)
            elif i == 0:
                x = _over_time(x, lengths) * extractor.gain[:, None] + extractor.shift[:, None]
            x = F.gelu(x)
        return x.transpose(1, 2), lengths

    def _encode(self, x: Tensor, mask: Tensor) -> Tensor:
        encoder, packing = self.transformer, _Padded(mask, mask, full=False)
        x = zero_padding(x, mask)
        x = packing.pack(x + encoder.position(x))
        if not encoder.config.norm_first:
            x = encoder.norm(x)
        x = encoder.blocks(x, packing)
        return packing.unpack(encoder.norm(x) if encoder.config.norm_first else x)


def _over_time(x: Tensor, lengths: Tensor) -> Tensor:
    """Each channel of `x (N, C, T)` with zero mean and unit variance over its valid frames."""
    mask = valid_mask(lengths, x.shape[2]).unsqueeze(1).to(x.dtype)
    count = lengths.clamp(min=1).to(x.dtype)[:, None, None]
    centred = x - (x * mask).sum(2, keepdim=True) / count
    return centred * ((centred.square() * mask).sum(2, keepdim=True) / count + EPS).rsqrt()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on what it does."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
