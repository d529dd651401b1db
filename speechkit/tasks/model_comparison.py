"""Whether a model gives in another toolkit what it gives here: both hear the same speech."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.data.audio import BadAudioError
from speechkit.data.conversion import read_mono, resampled
from speechkit.interop.reference import TOLERANCE, Outputs, Reference, largest_difference
from speechkit.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig

log = logging.getLogger(__name__)
SENTENCE = "the quick brown fox jumps over the lazy dog"


def require_free(out: Path, mark: str) -> None:
    """Raise `UsageError` unless `out` is new, empty, or an earlier result, which has a file called `mark`."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / mark).is_file()):
        raise UsageError(f"--out {out} holds something else; name a new folder")


def speech(audio: Path | None, sampling_rate: int) -> Tensor:
    """A waveform `(1, S)` of a file, or of a synthesised sentence."""
    if audio is not None:
        try:
            samples, rate = read_mono(audio)
        except BadAudioError as error:
            raise SpeechkitError(f"{audio}: {error}; correct --audio") from error
    else:
        from speechkit.data.miniature.espeak import SAMPLE_RATE, Voice, synthesise

        voice = Voice("en-us", rate=160, pitch=50, pitch_range=50)
        samples, rate = (synthesise(SENTENCE, voice).samples / 32768).astype("float32"), SAMPLE_RATE
    if rate != sampling_rate:
        samples = resampled(samples, rate, sampling_rate)
    return torch.as_tensor(samples, dtype=torch.float32).unsqueeze(0)


def require_equal(ours: Outputs, reference: Reference, waveform: Tensor, sampling_rate: int) -> None:
    """Log the largest difference of hidden states and logits; raise `SpeechkitError` where it is too large."""
    difference = largest_difference(ours, reference.run(waveform))
    seconds = waveform.shape[1] / sampling_rate
    if not difference < TOLERANCE:
        raise SpeechkitError(
            f"the model gives other outputs in {reference.name}: they differ by up to {difference:.2g} on "
            f"{seconds:.1f} s of speech; nothing was written (see --heads, --norm and --normalise for what was assumed)"
        )
    what = "hidden states" if ours.logits is None else "hidden states and logits"
    log.info(
        "compared with %s on %.1f s of speech, in double precision: %s differ by at most %.1e",
        reference.name, seconds, what, difference,
    )  # fmt: skip


def outputs(
    config: SpeechEncoderConfig, weights: Mapping[str, Tensor], head: Mapping[str, Tensor] | None, waveform: Tensor
) -> Outputs:
    """What an encoder here, with an output layer or without, makes of a waveform `(1, S)`, in double precision."""
    encoder = SpeechEncoder(config)
    fill(encoder, weights)
    encoder.double().eval()
    with torch.inference_mode():
        frames, lengths, _ = encoder.extract(waveform.double(), torch.tensor([waveform.shape[1]]))
        layers = encoder.transformer.layers(encoder.enter(frames), lengths)
        last = encoder.encode(frames, lengths)[0]
        logits = None if head is None else nn.functional.linear(last, head["weight"].double(), head["bias"].double())
    return Outputs([each[0] for each in layers], last, logits)


def fill(encoder: SpeechEncoder, weights: Mapping[str, Tensor]) -> None:
    """Load weights; the vector of the time mask, which no output depends on, stays as it is where they lack it.

    Raises:
        SpeechkitError: something else is missing, or of another shape.
    """
    try:
        found = encoder.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1:2]) or str(error)
        raise SpeechkitError(f"the tensors do not fit together: {reason}") from error
    missing = [name for name in found.missing_keys if name != "time_mask.vector"]
    if wrong := [*missing, *found.unexpected_keys]:
        raise SpeechkitError(f"the tensors are not those of one model: see {', '.join(wrong[:3])}")
