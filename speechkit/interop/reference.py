"""What transformers and torchaudio themselves make of a waveform: what an import or export is compared with."""

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from speechkit.common.environment import install_command
from speechkit.common.errors import SpeechkitError
from speechkit.interop.checkpoint import Model
from speechkit.interop.huggingface_folder import model_config, write_model
from speechkit.interop.names import TORCHAUDIO, TORCHAUDIO_HEADS, renamed, to_names
from speechkit.nn.waveform import normalise_waveforms

TOLERANCE = 1e-4


class Outputs(NamedTuple):
    """What a model makes of one waveform, in double precision.

    Attributes:
        layers: `(T, dim)` after each block.
        last: `(T, dim)`, what the encoder gives in the end.
        logits: `(T, V)` of the output layer, where there is one.
    """

    layers: list[Tensor]
    last: Tensor
    logits: Tensor | None = None


class Reference(NamedTuple):
    """Whose code it is, and what that makes of a waveform `(1, S)`."""

    name: str
    run: Callable[[Tensor], Outputs]


def largest_difference(ours: Outputs, theirs: Outputs) -> float:
    """The largest difference of any two numbers; infinite where shapes differ or something is not finite."""
    first, second = (
        [*each.layers, each.last, *([] if each.logits is None else [each.logits])] for each in (ours, theirs)
    )
    if [each.shape for each in first] != [each.shape for each in second]:
        return torch.inf
    differences = torch.stack([(a - b).abs().max() for a, b in zip(first, second, strict=True)])
    return float(differences.nan_to_num(torch.inf).max())


def of_transformers(folder: Path, normalise: bool, ctc: bool) -> Reference:
    """Transformers' model of a folder; waveforms are normalised before it, as this toolkit does it."""
    require("transformers")

    def run(waveform: Tensor) -> Outputs:
        import transformers

        kind = transformers.AutoModelForCTC if ctc else transformers.AutoModel
        with quiet(transformers):
            model = kind.from_pretrained(folder, local_files_only=True).double().eval()
        base = model.base_model
        layers, result = _watched(model, [*base.encoder.layers, base], waveform, normalise)
        return Outputs(layers[:-1], layers[-1], result.logits[0] if ctc else None)

    return Reference("transformers", run)


def of_torchaudio(state: Mapping[str, Tensor], model: Model) -> Reference:
    """Torchaudio's model of tensors by its own names, with the sizes of `model`."""
    require("torchaudio")

    def run(waveform: Tensor) -> Outputs:
        theirs = _torchaudio_model(model)
        missing = theirs.load_state_dict(dict(state), strict=False).missing_keys
        if missing:
            raise SpeechkitError(f"torchaudio's model has tensors that this one lacks: {', '.join(missing)}")
        encoder = theirs.encoder
        watched = [*encoder.transformer.layers, encoder]
        layers, result = _watched(theirs.double().eval(), watched, waveform, model.extractor.normalise)
        return Outputs(layers[:-1], layers[-1], result[0][0] if model.output else None)

    return Reference("torchaudio", run)


def of_either(model: Model, torchaudio_state: Mapping[str, Tensor] | None = None) -> Reference:
    """Torchaudio's model of the same tensors where that is installed, else transformers'.

    Args:
        model: the tensors and sizes.
        torchaudio_state: the tensors by torchaudio's names, where something else than `to_names` named them.
    """
    output = {f"output.{name}": each for name, each in (model.output or {}).items()}
    if installed("torchaudio"):
        if torchaudio_state is None:
            heads = renamed(output, [(there, here) for here, there in TORCHAUDIO_HEADS])
            torchaudio_state = to_names(model.encoder, TORCHAUDIO) | heads
        return of_torchaudio(torchaudio_state, model)
    require("transformers")

    def run(waveform: Tensor) -> Outputs:
        kind = "ForCTC" if output else "Model"
        config = model_config(model.method, kind, model.extractor, model.transformer)
        if output:
            config["vocab_size"] = len(output["output.weight"])
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder), config, model.encoder, output)
            return of_transformers(Path(folder), model.extractor.normalise, bool(output)).run(waveform)

    return Reference("transformers", run)


def installed(name: str) -> bool:
    """Whether a package can be imported."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def require(name: str) -> None:
    """Raise `SpeechkitError` unless a package can be imported."""
    if not installed(name):
        raise SpeechkitError(f"{name} is needed to compare models with it; run: {install_command(name)}")


def _torchaudio_model(model: Model) -> Any:
    from torchaudio.models import wav2vec2_model

    extractor, transformer = model.extractor, model.transformer
    shapes = zip(extractor.kernels, extractor.strides, strict=True)
    return wav2vec2_model(
        extractor_mode="layer_norm" if extractor.norm == "layer" else "group_norm",
        extractor_conv_layer_config=[(extractor.dim, kernel, stride) for kernel, stride in shapes],
        extractor_conv_bias=extractor.bias,
        encoder_embed_dim=transformer.dim,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=transformer.position_kernel,
        encoder_pos_conv_groups=transformer.position_groups,
        encoder_num_layers=transformer.layers,
        encoder_num_heads=transformer.heads,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=transformer.feed_forward,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=transformer.norm_first,
        encoder_layer_drop=0.0,
        aux_num_out=len(model.output["weight"]) if model.output else None,
    )


def _watched(
    model: nn.Module, modules: Sequence[nn.Module], waveform: Tensor, normalise: bool
) -> tuple[list[Tensor], Any]:
    """What each of `modules` gives, `(T, dim)`, and what the whole model does."""
    seen: list[Tensor] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        seen.append((output if isinstance(output, Tensor) else output[0])[0])

    waveform = waveform.double()
    if normalise:
        waveform = normalise_waveforms(waveform, torch.tensor([waveform.shape[1]]))
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for module in modules:
            stack.callback(module.register_forward_hook(note).remove)
        return seen, model(waveform)


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars and its remarks on weights that it does not need."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()
