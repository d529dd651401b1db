"""The searches with a language model, as the options of the commands that decode tell them."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.decode.methods import Method
    from speechkit.tasks.recognizer import Recognizer

BEAMS = {"beam": 50.0, "wfst": 12.0}


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `search_method` reads."""
    parser.add_argument("--method", choices=("greedy", "beam", "wfst"), default="greedy", help="how to search")
    parser.add_argument(
        "--lm",
        type=Path,
        help="n-gram in ARPA or KenLM's binary format, or folder of a model of `speechkit lm`; for --method beam",
    )
    parser.add_argument("--graph", type=Path, help="decoding graph made by `speechkit graph`, for --method wfst")
    parser.add_argument(
        "--wfst-backend", default="built-in", help="what searches the graph: built-in, kaldi-decoder or k2"
    )
    parser.add_argument(
        "--beam",
        type=float,
        help="beam: hypotheses kept per frame (50 without this option); wfst: largest difference to the best (12)",
    )
    parser.add_argument("--max-active", type=int, default=3000, help="hypotheses kept per frame at most, for wfst")
    parser.add_argument("--nj", type=int, default=1, help="processes that search")


def check_search(args: argparse.Namespace) -> None:
    """Raise `UsageError` where options of the search are missing."""
    from speechkit.common.errors import UsageError
    from speechkit.decode.graph_backends import check_backend

    check_backend(args.wfst_backend)
    if args.method == "beam" and args.lm is None:
        raise UsageError("--method beam needs --lm; without a language model use --method greedy")
    if args.method == "wfst" and args.graph is None:
        raise UsageError("--method wfst needs --graph; `speechkit graph` makes one from a lexicon and an LM")


def is_neural(args: argparse.Namespace) -> bool:
    """Whether the search is one with a neural language model."""
    return args.method == "beam" and bool(args.lm.is_dir())


def search_method(
    args: argparse.Namespace, recognizer: "Recognizer", rescored_with: Path | None = None
) -> "tuple[Method, dict[str, Any]]":
    """The search, other than greedy, and what a table of results tells of it.

    Args:
        rescored_with: n-gram whose scores replace the first one's in the end.
    """
    import json

    import torch

    from speechkit.decode.beam import BeamConfig
    from speechkit.decode.methods import BeamMethod, GraphMethod
    from speechkit.decode.wfst import WfstConfig
    from speechkit.tasks.fusion import FusedLanguageModel

    beam = BEAMS[args.method] if args.beam is None else args.beam
    if args.method == "beam":
        config = BeamConfig(size=int(beam))
        neural, forks = (FusedLanguageModel.load, not torch.cuda.is_available()) if is_neural(args) else (None, True)
        lang = json.dumps(recognizer.lang.state())
        return BeamMethod(lang, args.lm, config, rescored_with, neural, forks), {"beam": asdict(config)}
    search = WfstConfig(beam=beam, max_active=args.max_active)
    method = GraphMethod(args.graph, search, args.wfst_backend, recognizer.topology, rescored_with)
    return method, {"beam": {"beam": beam, "max_active": args.max_active}, "backend": args.wfst_backend}
