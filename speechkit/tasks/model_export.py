"""Checkpoints of this toolkit as folders of Hugging Face and ONNX files, compared before they are written."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import atomic_path, disk_errors, read_json
from speechkit.interop.checkpoint import Model
from speechkit.interop.huggingface import METHODS
from speechkit.interop.huggingface_folder import (
    CONFIG,
    masking_config,
    model_config,
    quantiser_config,
    write_feature_extractor,
    write_model,
    write_tokenizer,
)
from speechkit.interop.onnx_file import require_onnx, run_onnx, write_onnx
from speechkit.interop.reference import TOLERANCE, of_transformers
from speechkit.models.speech_encoder import SpeechEncoderConfig
from speechkit.nn.waveform import ExtractorConfig
from speechkit.tasks.model_comparison import outputs, require_equal, require_free, speech
from speechkit.tasks.pretrain import Method, fine_tunable, load_pretrained
from speechkit.tasks.recognizer import Recognizer
from speechkit.train.checkpoint import MODEL, TASK, load_tensors

log = logging.getLogger(__name__)


def export_huggingface(checkpoint: Path, out: Path, audio: Path | None) -> None:
    """Write a folder that transformers loads: a pre-trained model, or a fine-tuned one with its processor.

    Raises:
        SpeechkitError: the checkpoint holds a model of another kind, or transformers gives other outputs; then nothing
            is written.
    """
    if not (checkpoint / TASK).is_file():
        raise SpeechkitError(f"{checkpoint} holds no model ({TASK} is missing); correct --checkpoint")
    with _whole_folder(out) as folder:
        if read_json(checkpoint / TASK)["task"] in get_args(Method):
            encoder, model = _write_pretrained(checkpoint, folder)
        else:
            encoder, model = _write_finetuned(checkpoint, folder)
        waveform = speech(audio, encoder.sampling_rate)
        reference = of_transformers(folder, model.extractor.normalise, model.output is not None)
        ours = outputs(encoder, model.encoder, model.output, waveform)
        require_equal(ours, reference, waveform, encoder.sampling_rate)
    log.info("written to %s", out)


def _write_pretrained(checkpoint: Path, folder: Path) -> tuple[SpeechEncoderConfig, Model]:
    config, weights = load_pretrained(checkpoint)
    encoder = fine_tunable(config, checkpoint)
    _require_waveforms(checkpoint, encoder)
    tensors = load_tensors(checkpoint / MODEL)
    heads = {name: each for name, each in tensors.items() if name.startswith(("quantiser.", "context."))}
    method, kind = METHODS[config.method], "ForPreTraining" if heads else "Model"
    document = model_config(method, kind, encoder.extractor, encoder.transformer)
    document |= masking_config(encoder.time_mask, encoder.channel_mask)
    if heads:
        sizes = config.wav2vec2
        document |= quantiser_config(sizes.quantiser)
        document |= {
            "num_negatives": sizes.negatives,
            "contrastive_logits_temperature": sizes.kappa,
            "diversity_loss_weight": sizes.diversity_weight,
        }
    elif method == "hubert":
        log.info("transformers has no place for the class vectors of HuBERT: they stay here")
    write_model(folder, document | _feature_dropout(encoder), weights, heads)
    write_feature_extractor(folder, encoder.extractor, encoder.sampling_rate, ctc=False)
    return encoder, Model(method, encoder.extractor, encoder.transformer, weights, heads)


def _feature_dropout(encoder: SpeechEncoderConfig) -> dict[str, Any]:
    return {"feat_proj_dropout": encoder.input_dropout}


def _write_finetuned(checkpoint: Path, folder: Path) -> tuple[SpeechEncoderConfig, Model]:
    recognizer, encoder, model = _finetuned(checkpoint)
    tokens, lang = list(recognizer.lang.tokens), recognizer.lang
    document = model_config(model.method, "ForCTC", model.extractor, model.transformer)
    document |= masking_config(encoder.time_mask, encoder.channel_mask) | _feature_dropout(encoder)
    document |= {"vocab_size": len(tokens), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    document |= {"ctc_loss_reduction": "mean", "ctc_zero_infinity": True}
    output = {f"output.{name}": each for name, each in (model.output or {}).items()}
    write_model(folder, document, model.encoder, output)
    write_feature_extractor(folder, model.extractor, encoder.sampling_rate, ctc=True)
    write_tokenizer(folder, tokens, spelled=lang.unit == "char")
    if lang.pieces:
        log.warning("transformers puts spaces between word pieces: take those out, then turn each ▁ into one")
    elif lang.unit == "phone" and lang.phone_set is None:
        log.warning("transformers gives phones: only here the lexicon makes words of them")
    return encoder, model


def _finetuned(checkpoint: Path) -> tuple[Recognizer, SpeechEncoderConfig, Model]:
    """A fine-tuned model by itself, its encoder's configuration, and what goes out of it."""
    recognizer = Recognizer.load(checkpoint)
    config = recognizer.config
    if config.encoder is None:
        raise SpeechkitError(f"{checkpoint} works on features; only fine-tuned wav2vec 2.0 and HuBERT are exported")
    if config.loss != "ctc":
        raise SpeechkitError(f"{checkpoint} was trained by {config.loss}; only models of CTC are exported")
    _require_waveforms(checkpoint, config.encoder)
    state = recognizer.module.state_dict()
    weights, output = _under("encoder.", state), _under("output.", state)
    model = Model("wav2vec2", config.encoder.extractor, config.encoder.transformer, weights, {}, output)
    return recognizer, config.encoder, model


def _require_waveforms(checkpoint: Path, encoder: SpeechEncoderConfig) -> None:
    if encoder.log_mel is not None:
        raise SpeechkitError(f"{checkpoint} reads log-mel frames; other programs know only models that read waveforms")
    extractor, usual = encoder.extractor, ExtractorConfig()
    unusual = {"norm": extractor.norm not in ("first", "layer"), "paddings": bool(extractor.paddings)}
    unusual |= {name: getattr(extractor, name) != getattr(usual, name) for name in ("activation", "dropout")}
    if any(unusual.values()):
        names = ", ".join(f"extractor.{name}" for name, differs in unusual.items() if differs)
        raise SpeechkitError(f"{checkpoint} has settings that other programs do not know: {names}")


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}


def export_onnx(checkpoint: Path, out: Path, audio: Path | None) -> None:
    """Write an ONNX file of a fine-tuned model, and compare it with the model under onnxruntime.

    Both hear a whole utterance and a part of it, as one padded batch and the part alone. ONNX is in single precision,
    the model here in double for this; where the sizes of the model make single precision cost more than the tolerance,
    it may cost twice what it costs here.

    Raises:
        SpeechkitError: a package is missing, the checkpoint holds a model of another kind, or log-probabilities
            differ; then nothing is written.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"--out names a file that ends in .onnx, not {out}")
    require_onnx()
    recognizer, encoder, model = _finetuned(checkpoint)
    waveform = speech(audio, encoder.sampling_rate)
    part = waveform.shape[1] * 3 // 5
    batch, lengths = waveform.repeat(2, 1), torch.tensor([waveform.shape[1], part])
    batch[1, part:] = 0
    heard = ((batch, lengths), (batch[1:, :part], lengths[1:]))
    with atomic_path(out) as temporary:
        write_onnx(temporary, model, list(recognizer.lang.tokens), encoder.sampling_rate, recognizer.lang.unit)
        theirs = [torch.from_numpy(run_onnx(temporary, *each)) for each in heard]
        with torch.inference_mode():
            single = [recognizer.module.eval()(*each)[0] for each in heard]
            double = [recognizer.module.double()(waves.double(), sizes)[0] for waves, sizes in heard]
        difference, own = _largest(theirs, double), _largest(single, double)
        if not difference < max(TOLERANCE, 2 * own):
            raise SpeechkitError(
                f"onnxruntime gives other log-probabilities, by up to {difference:.2g}; nothing was written"
            )
    seconds = " and ".join(f"{each / encoder.sampling_rate:.1f} s" for each in lengths.tolist())
    log.info(
        "compared with onnxruntime on %s: log-probabilities differ by at most %.1e from those in double precision, "
        "those in single precision here by %.1e",
        seconds, difference, own,
    )  # fmt: skip
    log.info("written to %s", out)


def _largest(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference of log-probabilities; padding is infinitely improbable in both, or differs infinitely."""
    largest = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape or not torch.equal(a.isinf(), b.isinf()):
            return torch.inf
        largest = max(largest, float((a - b).masked_fill(b.isinf(), 0.0).nan_to_num(torch.inf).abs().max()))
    return largest


@contextlib.contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `out` if nothing goes wrong, in place of an earlier export."""
    require_free(out, CONFIG)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=out.parent) as name:
            folder = Path(name) / out.name
            folder.mkdir()
            yield folder
            if out.exists():
                shutil.rmtree(out)
            folder.rename(out)
