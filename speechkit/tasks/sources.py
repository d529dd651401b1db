"""What is clustered or stored as features: frames of waveforms, cepstra or a layer of a self-supervised model."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import read_json
from speechkit.common.seeds import derive
from speechkit.config.load import to_dict
from speechkit.features.fbank import Fbank, FbankConfig
from speechkit.features.mfcc import Mfcc, MfccConfig
from speechkit.models.finetuned import FinetunedEncoder
from speechkit.models.pretraining import EncoderConfig, Hidden
from speechkit.models.wav2vec import Wav2VecEncoderConfig
from speechkit.tasks.code_bert import NAME as CODE_BERT
from speechkit.tasks.objective import LossName
from speechkit.tasks.pretrain import load_encoder
from speechkit.tasks.recognizer import Recognizer
from speechkit.train.checkpoint import MODEL, TASK

LEAST_DEVIATION = 1e-3  # of a cepstrum that does not change
CPU = torch.device("cpu")


class Frames(Protocol):
    """Frames of waveforms, `frame_rate` a second and each `window` seconds wide; `origin` says what they are."""

    frame_rate: float
    window: float
    sampling_rate: int
    origin: dict[str, Any]
    device: torch.device

    def __call__(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Frames `(T, D)` of each waveform `(S,)` in [-1, 1]."""
        ...


class Cepstra:
    """13 cepstra with first and second derivatives, 100 frames a second: what HuBERT's first iteration clusters.

    With `normalise` each column of an utterance has zero mean and unit variance. With `splice` each frame is joined
    with its neighbours in a window of so many, the edges repeated; the values of one kind (static, first, second
    derivative) stand together, so that three groups of columns are the three kinds.
    """

    frame_rate = 100.0
    device = CPU

    def __init__(self, splice: int = 1, *, normalise: bool = False) -> None:
        if splice < 1 or splice % 2 == 0:
            raise UsageError(f"splice must be an odd number of frames, not {splice}")
        self._config, self._splice, self._normalise = MfccConfig(), splice, normalise
        self._mfcc = Mfcc(self._config)
        self.sampling_rate, self.window = self._config.fbank.sampling_rate, self._config.fbank.frame_length_ms / 1000
        self.origin: dict[str, Any] = {"features": "mfcc", "config": to_dict(self._config), "splice": splice}
        if normalise:
            self.origin["normalise"] = True

    def __call__(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Frames `(T, 39 splice)`."""
        frames = map(self._mfcc.extract, waveforms)
        return [self._spliced(_normalised(each) if self._normalise else each) for each in frames]

    def _spliced(self, x: Tensor) -> Tensor:
        reach, frames = self._splice // 2, torch.arange(len(x))
        window = (frames[:, None] + torch.arange(-reach, reach + 1)).clamp(0, max(0, len(x) - 1))
        kinds = x[window].view(len(x), self._splice, self._config.delta_order + 1, self._config.num_cepstra)
        return kinds.transpose(1, 2).flatten(1)


class LogMelEnergies:
    """80 log-mel energies, 100 frames a second; with `normalise` as of `Cepstra`."""

    frame_rate = 100.0
    device = CPU

    def __init__(self, *, normalise: bool = False) -> None:
        config = FbankConfig()
        self._fbank, self._normalise = Fbank(config), normalise
        self.sampling_rate, self.window = config.sampling_rate, config.frame_length_ms / 1000
        self.origin: dict[str, Any] = {"features": "log-mel", "config": to_dict(config), "normalise": normalise}

    def __call__(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Frames `(T, 80)`."""
        frames = map(self._fbank.extract, waveforms)
        return [_normalised(each) if self._normalise else each for each in frames]


def _normalised(x: Tensor) -> Tensor:
    if not len(x):
        return x
    return (x - x.mean(0)) / x.std(0, correction=0).clamp(min=LEAST_DEVIATION)


class Layer:
    """Hidden states of one layer of a pre-trained or fine-tuned model, counted from 1, without masks and dropout.

    A GPU takes the waveforms of a call as one batch, a CPU, where padding costs time, one by one. Each process reads
    the model once. With `untrained`, a seed, its weights are as they were drawn before any training.

    Raises:
        SpeechkitError: no such model, or one without such a layer.
    """

    def __init__(self, checkpoint: Path, layer: int, device: torch.device = CPU, untrained: int | None = None) -> None:
        self._checkpoint, self._layer, self._untrained, self.device = checkpoint, layer, untrained, device
        self.together = device.type != "cpu"
        config: EncoderConfig = _encoder(checkpoint, device, untrained).config
        _check_layers(checkpoint, config, [layer])
        self.sampling_rate, self.frame_rate = config.sampling_rate, config.frame_rate
        self.window = config.window / config.sampling_rate
        digest = hashlib.sha256((checkpoint / MODEL).read_bytes()).hexdigest()
        self.origin: dict[str, Any] = {"features": "model", "model": digest, "layer": layer}
        if untrained is not None:
            self.origin["untrained"] = untrained

    def __call__(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Frames `(T, dim)`."""
        if self.together:
            return list(self._hidden(waveforms))
        return [frames for waveform in waveforms for frames in self._hidden([waveform])]

    def of_cut(self, cut: str, waveform: Tensor) -> Tensor:
        """Frames `(T, dim)` of a cut, whose id tells nothing."""
        return self([waveform])[0]

    @torch.inference_mode()
    def _hidden(self, waveforms: Sequence[Tensor]) -> Iterator[Tensor]:
        encoder = _encoder(self._checkpoint, self.device, self._untrained)
        samples = torch.tensor([len(waveform) for waveform in waveforms], device=self.device)
        padded = pad_sequence(list(waveforms), batch_first=True).to(self.device)
        frames, lengths = self._frames(encoder, padded, samples)
        return (each[:length] for each, length in zip(frames, lengths.tolist(), strict=True))

    def _frames(self, encoder: Any, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        hidden: Hidden = encoder(waveforms, lengths, self._layer)
        return hidden.layers[-1], hidden.lengths


class Layers(Layer):
    """Hidden states of several layers of a model beside each other, for one pass over the audio; of all with None.

    Attributes:
        columns: of each layer, by its number, ascending.

    Raises:
        SpeechkitError: no such model, or one without such a layer.
    """

    def __init__(
        self, checkpoint: Path, layers: Sequence[int] | None, device: torch.device = CPU, untrained: int | None = None
    ) -> None:
        encoder = _encoder(checkpoint, device, untrained)
        config: EncoderConfig = encoder.config
        numbers = sorted(set(layers)) if layers else list(range(1, config.num_layers + 1))
        _check_layers(checkpoint, config, numbers)
        super().__init__(checkpoint, numbers[-1], device, untrained)
        second = torch.zeros(1, config.sampling_rate, device=device)
        with torch.inference_mode():
            hidden: Hidden = encoder(second, torch.tensor([second.shape[1]], device=device), numbers[-1])
        ends = list(accumulate(hidden.layers[number - 1].shape[2] for number in numbers))
        self.columns = {
            number: slice(start, end) for number, start, end in zip(numbers, [0, *ends], ends, strict=False)
        }

    def _frames(self, encoder: Any, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        hidden: Hidden = encoder(waveforms, lengths, self._layer)
        return torch.cat([hidden.layers[number - 1] for number in self.columns], dim=2), hidden.lengths


def _check_layers(checkpoint: Path, config: EncoderConfig, layers: Sequence[int]) -> None:
    for layer in layers:
        if not 1 <= layer <= config.num_layers:
            raise SpeechkitError(f"{checkpoint} has layers 1 to {config.num_layers}, not {layer}; correct --layer")


class FrameCodes(Layer):
    """The codes `(T, G)` of a model with a quantiser, in place of the vectors of a layer.

    Attributes:
        codebook: groups, and entries of each.

    Raises:
        SpeechkitError: no such model, or one without codes.
    """

    def __init__(self, checkpoint: Path, device: torch.device = CPU) -> None:
        super().__init__(checkpoint, 1, device)
        config = _encoder(checkpoint, device).config
        if not isinstance(config, Wav2VecEncoderConfig) or config.quantiser == "none":
            raise SpeechkitError(f"{checkpoint} has no quantiser, so no codes; name a vq-wav2vec model")
        self.codebook = config.codebook
        self.origin = {"features": "codes", "model": self.origin["model"]}

    def _frames(self, encoder: Any, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = encoder.codes(waveforms, lengths)
        return found


@functools.lru_cache(maxsize=1)
def _encoder(checkpoint: Path, device: torch.device, untrained: int | None = None) -> Any:
    """The model in this process: sources are sent to others without it."""
    encoder = _trained(checkpoint)
    if untrained is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(untrained, "weights"))
            encoder = type(encoder)(encoder.config)
    return encoder.eval().to(device)


def _trained(checkpoint: Path) -> Any:
    document = checkpoint / TASK
    task = read_json(document)["task"] if document.is_file() else None
    if task == CODE_BERT:
        raise SpeechkitError(f"{checkpoint} reads codes, not waveforms; `speechkit features --codes` stores its layers")
    if task in get_args(LossName):
        module = Recognizer.load(checkpoint).module
        if not isinstance(module, FinetunedEncoder):
            raise SpeechkitError(f"{checkpoint} reads features; name a pre-trained or fine-tuned model")
        return module.encoder
    return load_encoder(checkpoint)
