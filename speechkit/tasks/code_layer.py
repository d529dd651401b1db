"""A layer of a BERT over codes, run on the stored codes of an utterance: features as `speechkit.tasks.hidden` has."""

import functools
import hashlib
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError
from speechkit.data.labels import LabelFile, Labels, label_files
from speechkit.lm.code_pieces import even_parts
from speechkit.lm.token_file import SentenceBatch
from speechkit.tasks.code_bert import CodeBertModel, Codes
from speechkit.train.checkpoint import MODEL

CPU = torch.device("cpu")
SAMPLING_RATE = 16000  # of the audio that codes are made of
BLOCK = 1 << 24  # bytes read at a time
TOLERANCE = 0.1  # seconds by which the codes of an utterance may be shorter or longer than its audio


class CodeLayer:
    """Hidden states of one layer, counted from 1, without masks and dropout, at the rate of the codes.

    An utterance that is longer than the sequences of the training is cut, as there, into even pieces, of which none
    sees another. The codes of all sets in a folder are looked up by the ids of cuts.

    Raises:
        SpeechkitError: no such model, one without such a layer, or one of other codes.
    """

    def __init__(self, checkpoint: Path, layer: int, codes: Path, device: torch.device = CPU) -> None:
        self._checkpoint, self._layer, self._codes, self._device = checkpoint, layer, codes, device
        model = _model(checkpoint, device)
        layers = model.config.model.layers
        if not 1 <= layer <= layers:
            raise SpeechkitError(f"{checkpoint} has layers 1 to {layers}, not {layer}; correct --layer")
        digest = hashlib.sha256()
        for name in _sets(codes):
            if Codes.of(LabelFile(codes, name)) != model.codes:
                raise SpeechkitError(
                    f"{codes / name}.bin holds other codes than {checkpoint} was trained on; give the folder of those"
                )
            for path in label_files(codes, name):
                with path.open("rb") as stream:
                    for block in iter(functools.partial(stream.read, BLOCK), b""):
                        digest.update(block)
        self.sampling_rate, self.frame_rate = SAMPLING_RATE, model.codes.frame_rate
        self.window = 1 / self.frame_rate
        weights = hashlib.sha256((checkpoint / MODEL).read_bytes()).hexdigest()
        origin = {"features": "code-bert", "model": weights, "codes": digest.hexdigest(), "layer": layer}
        self.origin: dict[str, Any] = origin

    @torch.inference_mode()
    def of_cut(self, cut: str, waveform: Tensor) -> Tensor:
        """Frames `(T, dim)` of the codes of a cut; its `waveform (S,)` tells whether they are those of the same audio.

        Raises:
            SpeechkitError: there are no codes of this cut, or they are of another length.
        """
        codes = _by_cut(self._codes).get(cut)
        if codes is None:
            raise SpeechkitError(f"{self._codes} has no codes of {cut}; make them of all sets, or correct --codes")
        seconds, heard = len(codes) / self.frame_rate, len(waveform) / self.sampling_rate
        if abs(seconds - heard) > TOLERANCE:
            raise SpeechkitError(
                f"{self._codes} has {seconds:.2f} s of codes of {cut}, whose audio has {heard:.2f} s; make them again"
            )
        model = _model(self._checkpoint, self._device)
        parts = [codes[part] for part in even_parts(len(codes), model.config.longest)]
        if not parts:
            return torch.zeros(0, model.config.model.dim)
        batch = SentenceBatch.of(parts, [])
        hidden = model.module.layers(batch.tokens.to(self._device), batch.lengths.to(self._device), self._layer)[-1]
        return torch.cat([each[:length] for each, length in zip(hidden, batch.lengths.tolist(), strict=True)])


@functools.lru_cache(maxsize=1)
def _model(checkpoint: Path, device: torch.device) -> CodeBertModel:
    """The model in this process: sources are sent to others without it."""
    model = CodeBertModel.load(checkpoint)
    model.module.eval().to(device)
    return model


def _sets(codes: Path) -> list[str]:
    """The sets of labels in a folder."""
    names = sorted(path.stem for path in codes.glob("*.bin"))
    if not names:
        raise SpeechkitError(f"{codes} holds no codes; correct --codes")
    return names


@functools.lru_cache(maxsize=1)
def _by_cut(codes: Path) -> Mapping[str, Labels]:
    """The codes of all sets by the id of the cut."""
    return ChainMap(*(LabelFile(codes, name) for name in _sets(codes)))  # type: ignore[arg-type]
