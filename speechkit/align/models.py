"""Emission models behind one interface, and what a checkpoint holds: units, topology, features and emissions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from speechkit.align.gmm import DiagonalGmms, pieces
from speechkit.align.hmm import HmmConfig
from speechkit.align.units import Transcript, Units
from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json
from speechkit.config.load import from_dict, to_dict
from speechkit.features.cmvn import CmvnStats, normalise
from speechkit.features.deltas import add_deltas
from speechkit.features.fbank import FbankConfig
from speechkit.features.mfcc import mfcc
from speechkit.features.spectrum import Framing
from speechkit.train.checkpoint import MODEL, load_tensors, save_folder

ALIGNER = "aligner.json"


@dataclass(frozen=True, kw_only=True)
class StoredFrames(Framing):
    """What is known of features other than log-mel energies, such as hidden states: `num_bins` columns, and times."""

    num_bins: int
    frame_shift_ms: float
    frame_length_ms: float
    sampling_rate: int = 16000


@dataclass(frozen=True)
class Utterance:
    """Features `(T, C)` of one utterance, log-mel energies as a rule, with what else is known of it.

    That is the statistics of its speaker, its length in seconds, and what is said.
    """

    id: str
    log_mel: Tensor = field(repr=False)
    speaker: CmvnStats = field(repr=False)
    duration: float
    transcript: Transcript


@dataclass(frozen=True, kw_only=True)
class CepstraConfig:
    """Features of Gaussians: cepstra with the speaker's mean removed, and their derivatives.

    Kaldi has `delta_order` 2 over a `delta_window` of 2 frames to either side, for recognition. What sees fewer frames
    puts boundaries more exactly. With `cepstra` 0 the features are taken as they are, for others than log-mel energies.
    """

    cepstra: int = 13
    delta_order: int = 1
    delta_window: int = 1

    def __post_init__(self) -> None:
        if self.cepstra < 0:
            raise ValueError(f"cepstra must be at least 1, or 0 for features as they are, not {self.cepstra}")

    def features(self, utterance: Utterance) -> Tensor:
        """Features `(T, D)` of an utterance."""
        centred = normalise(utterance.log_mel, utterance.speaker, variance=False)
        plain = mfcc(centred, self.cepstra) if self.cepstra else centred
        return add_deltas(plain, self.delta_order, self.delta_window)


class Emissions(Protocol):
    """What gives frames their log-likelihoods under the states of all units."""

    kind: ClassVar[str]

    def log_likelihoods(self, utterances: Sequence[Utterance]) -> list[Tensor]:
        """Natural-log likelihoods, up to a constant of the frame, `(T, P)` of each utterance."""
        ...

    def log_posteriors(self, log_likelihoods: Tensor) -> Tensor:
        """Log posteriors `(T, P)` of the states, for confidences."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps as tensors."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps as JSON."""
        ...


@dataclass(frozen=True)
class GmmEmissions:
    """Mixtures of diagonal Gaussians on cepstra.

    The likelihoods of frames are too sure of themselves, because features and neighbouring frames are not independent:
    posteriors are those of the log-likelihoods times `posterior_scale`, which training finds.
    """

    kind: ClassVar[str] = "gmm"

    config: CepstraConfig
    gmms: DiagonalGmms
    posterior_scale: float

    def log_likelihoods(self, utterances: Sequence[Utterance]) -> list[Tensor]:
        """Log-densities of each utterance's cepstra."""
        features = [self.config.features(utterance) for utterance in utterances]
        return pieces(self.gmms.log_likelihoods(torch.cat(features)), [len(each) for each in features])

    def log_posteriors(self, log_likelihoods: Tensor) -> Tensor:
        """With equal priors."""
        return torch.log_softmax(log_likelihoods * self.posterior_scale, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """The Gaussians."""
        gmms = self.gmms
        return {"sizes": gmms.sizes, "weights": gmms.weights, "means": gmms.means, "variances": gmms.variances}

    def state(self) -> dict[str, Any]:
        """The configuration of the cepstra, and the scale of posteriors."""
        return {"cepstra": to_dict(self.config), "posterior_scale": self.posterior_scale}

    @classmethod
    def load(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "GmmEmissions":
        """The inverse of `state` and `tensors`."""
        config = from_dict(CepstraConfig, state["cepstra"], ALIGNER)
        return cls(config, DiagonalGmms(**tensors), float(state["posterior_scale"]))


@dataclass(frozen=True)
class AlignerModel:
    """All that forced alignment needs besides audio and transcripts; saved as one folder."""

    units: Units
    hmm: HmmConfig
    fbank: FbankConfig | StoredFrames
    emissions: Emissions

    def save(self, folder: Path, record: Mapping[str, Any] | None = None) -> None:
        """Write `aligner.json` and the tensors; `record` holds figures for readers."""
        document = {
            "kind": self.emissions.kind,
            "record": dict(record or {}),
            "hmm": to_dict(self.hmm),
            "fbank": to_dict(self.fbank),
            "stored": isinstance(self.fbank, StoredFrames),
            "emissions": self.emissions.state(),
            "units": self.units.state(),
        }
        save_folder(folder, {MODEL: self.emissions.tensors()}, {ALIGNER: document})

    @classmethod
    def load(cls, folder: Path) -> "AlignerModel":
        """Read what `save` wrote."""
        from speechkit.align.neural import NeuralEmissions

        if not (folder / ALIGNER).is_file():
            raise SpeechkitError(f"{folder} is not an aligner ({ALIGNER} is missing); run stage 3, or correct --model")
        document, source = read_json(folder / ALIGNER), str(folder / ALIGNER)
        kinds: dict[str, Any] = {kind.kind: kind for kind in (GmmEmissions, NeuralEmissions)}
        emissions: Emissions = kinds[document["kind"]].load(document["emissions"], load_tensors(folder / MODEL))
        frames: FbankConfig | StoredFrames = (
            from_dict(StoredFrames, document["fbank"], source)
            if document.get("stored")
            else from_dict(FbankConfig, document["fbank"], source)
        )
        hmm = from_dict(HmmConfig, document["hmm"], source)
        return cls(Units.from_state(document["units"]), hmm, frames, emissions)
