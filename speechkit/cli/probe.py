"""Tell how well a linear classifier finds phones or speakers in frozen frames: cepstra, log-mel, layers of a model."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.common.errors import UsageError
from speechkit.data.parallel import available_cpus

if TYPE_CHECKING:
    import torch

    from speechkit.tasks.probe import ProbeConfig
    from speechkit.tasks.sources import Frames

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit probe`."""
    parser.add_argument("--target", choices=("phone", "speaker"), default="phone", help="what is classified")
    parser.add_argument("--train", type=Path, required=True, help="cuts to fit on; for phones, with alignments")
    parser.add_argument(
        "--test",
        type=Path,
        nargs="+",
        default=[],
        help="phone: cuts to count on (speakers are counted on utterances of --train that are held out)",
    )
    parser.add_argument("--features", choices=("mfcc", "log-mel"), default="mfcc", help="frames without a model")
    parser.add_argument("--normalise", action="store_true", help="normalise these over each utterance")
    parser.add_argument("--checkpoint", type=Path, help="pre-trained or fine-tuned model")
    parser.add_argument(
        "--layer",
        nargs="+",
        metavar="LAYER",
        help="layer of the model, counted from 1; several or `all` are compared, in one pass over the audio",
    )
    parser.add_argument("--random", action="store_true", help="take the model with weights as before any training")
    parser.add_argument("--config", type=Path, help="YAML file of the probe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of it")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for probe.json, and probe.png of several layers"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample, the held-out part and --random")
    parser.add_argument("--nj", type=int, default=available_cpus(), help="number of processes")


def run(args: argparse.Namespace) -> None:
    """Print a line with the accuracies, of several layers a table, and write them to probe.json."""
    from speechkit.common.files import write_json
    from speechkit.config.load import load_config, to_dict
    from speechkit.tasks.probe import ProbeConfig, probe

    if (args.target == "phone") != bool(args.test):
        raise UsageError("--target phone needs --test; --target speaker holds out a part of --train and takes none")
    layers = _layers(args.layer)
    config = load_config(ProbeConfig, args.config, args.set)
    _check(args)
    if layers is None or len(layers) > 1:
        _compare(args, layers, config)
        return
    source = _source(args, layers)
    found = probe(source, args.target, args.train, args.test, config, args.seed, args.nj)
    origin = {"source": source.origin, "frame_rate": source.frame_rate, "config": to_dict(config), "seed": args.seed}
    write_json(args.out / "probe.json", {**found.figures(), **origin})
    print(f"{_name(args)}: {found}")
    log.info("written to %s", args.out / "probe.json")


def _compare(args: argparse.Namespace, layers: list[int] | None, config: "ProbeConfig") -> None:
    """Probe several layers, all of them for None: a table, a picture, and which one is the best."""
    from speechkit.common.files import write_json
    from speechkit.config.load import to_dict
    from speechkit.report.pictures import draw_layers
    from speechkit.tasks.probe import best_layer, layer_table, probe_layers
    from speechkit.tasks.sources import Layers

    source = Layers(args.checkpoint, layers, _device(), args.seed if args.random else None)
    found = probe_layers(source, args.target, args.train, args.test, config, args.seed, args.nj, args.out)
    best = best_layer(found)
    judge = next(iter(found[best].sets))
    origin = {key: value for key, value in source.origin.items() if key != "layer"}
    document = {
        "target": args.target,
        "best": best,
        "best_on": judge,
        "layers": {str(layer): each.figures() for layer, each in found.items()},
        "source": origin,
        "frame_rate": source.frame_rate,
        "config": to_dict(config),
        "seed": args.seed,
    }
    write_json(args.out / "probe.json", document)
    print(f"{args.target} accuracy (%)", *layer_table(found), sep="\n")
    print(f"best: layer {best}, {100 * found[best].sets[judge].share:.2f} % of {judge}")
    accuracies = {name: [each.sets[name].share for each in found.values()] for name in found[best].sets}
    drawn = draw_layers(args.out / "probe.png", list(found), accuracies, args.target)
    log.info("written to %s%s", args.out / "probe.json", " and probe.png" if drawn else "")


def _layers(words: list[str] | None) -> list[int] | None:
    """The layers that were named, none of them an empty list; None for all."""
    if words == ["all"]:
        return None
    try:
        return [int(word) for word in words or []]
    except ValueError:
        raise UsageError(f"--layer takes numbers, or `all` by itself, not {' '.join(words or [])}") from None


def _check(args: argparse.Namespace) -> None:
    """What does not go together is a `UsageError`."""
    if (args.checkpoint is None) != (args.layer is None):
        raise UsageError("--checkpoint and --layer go together")
    if args.checkpoint is None and args.random:
        raise UsageError("--random is a model without training: name its --checkpoint and --layer")
    if args.checkpoint and args.normalise:
        raise UsageError("--normalise is for features without a model; leave it out with --checkpoint")


def _source(args: argparse.Namespace, layers: list[int]) -> "Frames":
    from speechkit.tasks.sources import Cepstra, Layer, LogMelEnergies

    if args.checkpoint is None:
        return (Cepstra if args.features == "mfcc" else LogMelEnergies)(normalise=args.normalise)
    return Layer(args.checkpoint, layers[0], _device(), args.seed if args.random else None)


def _device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _name(args: argparse.Namespace) -> str:
    """The source, for the line."""
    if args.checkpoint is None:
        return f"{args.features}{' normalised' if args.normalise else ''}"
    return f"{'random ' if args.random else ''}layer {args.layer[0]}"
