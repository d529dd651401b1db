"""Batches of waveforms for self-supervised training: crops of one length, with the frame labels that belong to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from speechkit.common.errors import SpeechkitError
from speechkit.common.seeds import derive
from speechkit.data.audio import read_part
from speechkit.data.distortion import Distortion, DistortionConfig, change_speed
from speechkit.data.labels import LabelFile
from speechkit.data.speaker_sampler import speaker_of
from speechkit.nn.lengths import NO_LABEL

PLAIN = DistortionConfig()
TOLERANCE = 2  # frames by which labels may be fewer or more than the audio has


@dataclass(frozen=True)
class WaveformBatch:
    """Waveforms `(N, S)` with `lengths (N,)` in samples, labels `(N, T)` of each set (`NO_LABEL` for none), ids.

    Where the waveforms are distorted, `plain (N, S speed)` is what they were made of, played `speed` times as fast.
    `speakers (N,)` are equal for utterances of the same speaker; one that is not known is like nobody else.
    """

    ids: list[str]
    waveforms: Tensor
    lengths: Tensor
    labels: tuple[Tensor, ...] = ()
    plain: Tensor | None = None
    speed: float = 1.0
    speakers: Tensor | None = None

    def to(self, device: torch.device) -> "WaveformBatch":
        """The batch with its tensors on `device`."""
        moved = [each.to(device, non_blocking=True) for each in (self.waveforms, self.lengths, *self.labels)]
        optional = {name: getattr(self, name) for name in ("plain", "speakers")}
        there = {name: each.to(device, non_blocking=True) for name, each in optional.items() if each is not None}
        return replace(self, waveforms=moved[0], lengths=moved[1], labels=tuple(moved[2:]), **there)


@dataclass(frozen=True)
class Crop:
    """`length` samples from sample `start` on of a cut that is played `speed` times as fast."""

    cut: Any
    speed: float
    start: int
    length: int

    def read(self, sampling_rate: int) -> npt.NDArray[np.float32]:
        """The samples at their own speed; of the file no more than that is read."""
        return read_cut(self.cut, sampling_rate, int(self.start * self.speed), int(self.length * self.speed))


class WaveformDataset(Dataset[WaveformBatch]):
    """Turns the cuts of one batch into crops as long as the shortest of them, so that nothing is padded.

    Crops begin at multiples of `hop` samples, drawn from `seed` and the ids in the batch. Without `crop` whole
    utterances are padded instead. With `distortion` they are in rooms and noise, and a batch plays at a speed drawn for
    all of it, so that its utterances stay alike in length; labels are those of the undistorted sound.

    Args:
        labels: sets of frame labels by cut id; they say themselves how many there are a second.
        longest: samples of a crop at most.
        hop: samples from one frame of the model to the next.
        sampling_rate: that every recording must have, in Hz.
        seed: of the crops.
        crop: whether to crop.
        distortion: what is done to the sound.
        keep_plain: whether batches have the undistorted sound too; only with `crop`.
    """

    def __init__(
        self,
        labels: Sequence[LabelFile],
        longest: int,
        hop: int,
        sampling_rate: int,
        seed: int,
        *,
        crop: bool = True,
        distortion: DistortionConfig = PLAIN,
        keep_plain: bool = False,
    ) -> None:
        self.labels, self.longest, self.hop, self.rate, self.seed = labels, longest, hop, sampling_rate, seed
        self.crop, self.distortion, self.keep_plain = crop, Distortion(distortion, sampling_rate), keep_plain

    def __getitem__(self, cuts: Any) -> WaveformBatch:
        ids = [cut.id for cut in cuts]
        generator = np.random.default_rng(derive(self.seed, "crops", *ids))
        speed = self.distortion.speed(generator)
        sizes = np.array([int(cut.num_samples / speed) for cut in cuts])
        lengths = np.full(len(ids), min(self.longest, int(sizes.min()))) if self.crop else sizes
        starts = generator.integers((sizes - lengths) // self.hop + 1) * self.hop
        waveforms = torch.zeros(len(ids), int(lengths.max()))
        places = zip(cuts, starts.tolist(), lengths.tolist(), strict=True)
        crops = [Crop(cut, speed, start, length) for cut, start, length in places]
        plain = [crop.read(self.rate) for crop in crops]
        for row, crop, samples in zip(waveforms, crops, plain, strict=True):
            heard = change_speed(samples, speed, crop.length)
            row[: crop.length] = torch.from_numpy(self.distortion.surround(heard, generator))
        frames = -(-int(lengths.max()) // self.hop)
        labels = tuple(torch.stack([self._labels(each, crop, frames) for crop in crops]) for each in self.labels)
        kept = torch.from_numpy(np.stack(plain)) if self.keep_plain else None
        return WaveformBatch(ids, waveforms, torch.from_numpy(lengths), labels, kept, speed, _speakers(cuts))

    def _labels(self, labels: LabelFile, crop: Crop, frames: int) -> Tensor:
        """Labels of the first `frames` frames: that of frame t of an utterance is number floor(t rate / frame rate)."""
        name = crop.cut.id
        if name not in labels:
            raise SpeechkitError(f"no labels for cut {name}; make labels of this set (stage 5)")
        found, ratio = labels[name], labels.frame_rate * self.hop / self.rate * crop.speed
        check_length(name, len(found), labels.frame_rate, crop.cut.num_samples / self.rate)
        places = np.floor((crop.start // self.hop + np.arange(frames)) * ratio + 1e-6).astype(np.int64)
        inside = (places < len(found)) & (np.arange(frames) * self.hop < crop.length)
        return torch.from_numpy(np.where(inside, found[np.minimum(places, len(found) - 1)].astype(np.int64), NO_LABEL))


def _speakers(cuts: Any) -> Tensor:
    """Numbers `(N,)` of the speakers among those of the cuts."""
    who = [(speaker := speaker_of(cut), None if speaker else cut.id) for cut in cuts]
    numbers = {each: number for number, each in enumerate(dict.fromkeys(who))}
    return torch.tensor([numbers[each] for each in who])


class Waveforms:
    """Reads the whole waveforms of a batch of cuts; with `distortion` as noise and rooms change them.

    What is random in that depends on `seed` and the ids in the batch.
    """

    def __init__(self, sampling_rate: int, distortion: DistortionConfig | None = None, seed: int = 0) -> None:
        self.rate, self.seed = sampling_rate, seed
        self.distortion = Distortion(distortion, sampling_rate) if distortion else None

    def __call__(self, cuts: Any) -> list[Tensor]:
        """Waveforms `(S,)` of each cut."""
        if self.distortion is None:
            return [torch.from_numpy(self._read(cut)) for cut in cuts]
        rng = np.random.default_rng(derive(self.seed, "distortion", *(cut.id for cut in cuts)))
        return [torch.from_numpy(self.distortion(self._read(cut), rng)) for cut in cuts]

    def _read(self, cut: Any) -> npt.NDArray[np.float32]:
        if cut.recording.transforms:  # copies at other speeds
            samples: npt.NDArray[np.float32] = cut.load_audio()[0]
            return samples
        return read_cut(cut, self.rate, 0, cut.num_samples)


def check_length(name: str, num_labels: int, frame_rate: float, seconds: float) -> None:
    """A `SpeechkitError` where labels and audio do not belong together."""
    expected = seconds * frame_rate
    # Windows that do not fit at the end give no frame: three frames less at 100 Hz, one at 50 Hz.
    if not expected - TOLERANCE - 2 <= num_labels <= expected + TOLERANCE:
        raise SpeechkitError(
            f"cut {name} has {num_labels} labels at {frame_rate:g} a second, but lasts {seconds:.2f} s; "
            "make the labels from this very data"
        )


def read_cut(cut: Any, sampling_rate: int, start: int, length: int) -> npt.NDArray[np.float32]:
    """Samples `(length,)` of a cut from sample `start` of it on; of the file no more than that is read.

    Raises:
        SpeechkitError: wrong sampling rate, or a file that is not as its manifest says.
    """
    source = Path(cut.recording.sources[0].source)
    return read_part(source, sampling_rate, round(cut.start * sampling_rate) + start, length)
