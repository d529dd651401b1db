"""Label audio without transcripts by a trained model, and join it with labelled audio for a student to train on."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli.search import add_search_arguments, check_search, is_neural, search_method, search_weights
from speechkit.common.errors import UsageError

if TYPE_CHECKING:
    from speechkit.decode.beam import Weights
    from speechkit.decode.methods import Method
    from speechkit.tasks.recognizer import Recognizer

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit pseudo-label`."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the teacher, as exp/fbank/final")
    parser.add_argument(
        "--cuts",
        type=Path,
        required=True,
        help="cuts to label, with features and cmvn.safetensors if the teacher reads features; their transcripts are "
        "never read",
    )
    parser.add_argument(
        "--labelled", type=Path, required=True, help="folder of labelled cuts_train and of cuts_dev and cuts_test"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for cuts, labels.jsonl and report.json")
    parser.add_argument("--config", type=Path, help="YAML file of the filters")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, as keep=80")
    parser.add_argument("--round", type=int, default=1, help="how many times labels were made with these")
    parser.add_argument("--previous", type=Path, metavar="DIR", help="folder of the labels of the round before")
    add_search_arguments(parser)
    parser.add_argument("--weights", type=Path, help="weights.json of the teacher's sweep on the development set")


def run(args: argparse.Namespace) -> None:
    """Label, filter, write the training set and say where it comes from."""
    import torch

    from speechkit.common.files import write_json
    from speechkit.config.load import load_config, to_dict
    from speechkit.tasks.pseudo import PseudoConfig, Teacher, file_hash, make_pseudo_labels
    from speechkit.tasks.recognizer import Recognizer
    from speechkit.train.checkpoint import MODEL

    _check(args)
    config = load_config(PseudoConfig, args.config, args.set)
    recognizer = Recognizer.load(args.checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = _weights(args)
    method, search = _method(recognizer, args)
    teacher = Teacher(recognizer, method, weights, device, args.nj)
    figures = make_pseudo_labels(teacher, args.cuts, args.labelled, args.out, config, args.previous)
    origin = {
        "round": args.round,
        "teacher": {"checkpoint": str(args.checkpoint), "model": file_hash(args.checkpoint / MODEL)},
        "search": {"method": args.method, **search, **({"weights": weights.values()} if method else {})},
        "filters": to_dict(config),
    }
    write_json(args.out / "report.json", {**origin, **figures})
    log.info("round %d: %s", args.round, ", ".join(f"{count} {what}" for what, count in figures["counts"].items()))
    log.info("%.2f h labelled, %.2f h with pseudo-labels are in %s", *figures["hours"].values(), args.out)


def _check(args: argparse.Namespace) -> None:
    check_search(args)
    if args.method != "greedy" and args.weights is None:
        raise UsageError(f"--method {args.method} needs --weights; without a language model use --method greedy")
    if args.round < 1:
        raise UsageError(f"--round is at least 1, not {args.round}")


def _weights(args: argparse.Namespace) -> "Weights":
    from speechkit.common.errors import SpeechkitError
    from speechkit.common.files import read_json
    from speechkit.decode.beam import Weights

    if args.method == "greedy":
        return Weights()
    given = read_json(args.weights)
    if "search" in given:
        raise SpeechkitError(
            f"{args.weights} was tuned with a neural LM; name the weights.json of the search before it"
        )
    return search_weights(args, given["best"])


def _method(recognizer: "Recognizer", args: argparse.Namespace) -> "tuple[Method | None, dict[str, Any]]":
    """The way to search, None for greedy decoding, and what the report tells of it."""
    from speechkit.fsa.wfst.graph import ARRAY
    from speechkit.tasks.pseudo import file_hash
    from speechkit.train.checkpoint import MODEL

    if args.method == "greedy":
        return None, {}
    method, details = search_method(args, recognizer)
    if args.method == "beam":
        file = args.lm / MODEL if is_neural(args) else args.lm
        return method, {"lm": str(args.lm), "lm_hash": file_hash(file), **details}
    return method, {"graph": str(args.graph), "graph_hash": file_hash(args.graph / ARRAY), **details}
