"""Recognise a set: greedily, or by a search with a language model whose weights are tuned on dev."""

import argparse
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.cli.decoding import write_decoding
from speechkit.cli.search import add_search_arguments, check_search, is_neural, search_method, search_weights

if TYPE_CHECKING:
    from speechkit.decode.beam import Hypothesis, Weights
    from speechkit.decode.methods import Method
    from speechkit.decode.sweep import SweepPoint
    from speechkit.tasks.recognition import RecognitionSet

log = logging.getLogger(__name__)
RESCORED = 100  # hypotheses of each utterance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit decode`."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="folder of a trained model, such as exp/fbank/final"
    )
    parser.add_argument(
        "--cuts", type=Path, required=True, help="cuts with features; cmvn.safetensors lies beside them"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for hyp.txt, ref.txt and decode.json")
    add_search_arguments(parser)
    parser.add_argument("--sweep", action="store_true", help="look for the weights with the fewest errors on this set")
    parser.add_argument(
        "--weights",
        type=Path,
        help="weights.json of a sweep on the development set; to sweep those of a neural --rescore-lm, that without it",
    )
    parser.add_argument(
        "--lm-weight", type=float, default=1.0, help="factor of the LM's log10 probability, without --weights"
    )
    parser.add_argument("--word-score", type=float, default=0.0, help="added for each word, without --weights")
    parser.add_argument(
        "--neural-weight", type=float, default=1.0, help="factor of a neural --lm or --rescore-lm, without --weights"
    )
    parser.add_argument("--nbest", type=int, metavar="N", help="write the N best hypotheses to nbest.jsonl too")
    parser.add_argument(
        "--rescore-lm",
        type=Path,
        metavar="LM",
        help="n-gram (ARPA) whose scores replace the first one's in the end, or folder of a neural model of `speechkit "
        f"lm` whose scores are added to it for the {RESCORED} (or --nbest) best hypotheses",
    )


def run(args: argparse.Namespace) -> None:
    """Decode and write the results."""
    import torch

    from speechkit.tasks.recognition import RecognitionSet
    from speechkit.tasks.recognizer import Recognizer

    _check(args)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuts = RecognitionSet(Recognizer.load(args.checkpoint), args.cuts, device)
    start = time.monotonic()
    words, details = _decode(cuts, args)
    write_decoding(
        args.out,
        words,
        cuts.references(),
        {"method": _method_name(args), **details},
        seconds=time.monotonic() - start,
        audio=sum(cut.duration for cut in cuts.cuts),
    )


def _check(args: argparse.Namespace) -> None:
    from speechkit.common.errors import UsageError

    check_search(args)
    if args.method == "greedy" and (args.nbest or args.rescore_lm):
        raise UsageError("--nbest and --rescore-lm go with --method beam or wfst")
    if args.rescore_lm and is_neural(args):
        raise UsageError("--rescore-lm goes with an n-gram; leave it out, or give an n-gram as --lm")
    if args.sweep and (args.method == "greedy" or (args.weights and not _rescores(args))):
        raise UsageError("--sweep looks for the weights of a language model; leave out --weights and greedy decoding")
    if args.nbest is not None and args.nbest < 1:
        raise UsageError(f"--nbest is at least 1, not {args.nbest}")


def _rescores(args: argparse.Namespace) -> bool:
    """Whether a neural language model rescores what another search finds."""
    return args.rescore_lm is not None and args.rescore_lm.is_dir()


def _method_name(args: argparse.Namespace) -> str:
    """What tells one way to decode from others in a table of results: "beam, 4gram" with lm_4gram.arpa."""
    from speechkit.tasks.language_model import model_name

    if args.method == "greedy":
        return "greedy"
    if is_neural(args):
        return f"{args.method}, {model_name(args.lm)}"
    ngram = re.sub(r"^(lm|graph)_?", "", (args.graph or args.lm).name.partition(".")[0])
    return ", ".join(part for part in (args.method, ngram, "neural LM" if _rescores(args) else "") if part)


def _decode(cuts: "RecognitionSet", args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, Any]]:
    if args.method == "greedy":
        return cuts.decode_greedy(), {}
    ngram = None if _rescores(args) else args.rescore_lm
    method, details = search_method(args, cuts.recognizer, ngram)
    if args.rescore_lm:
        details["rescored_with"] = str(args.rescore_lm)
    if _rescores(args):
        return _decode_rescored(cuts, method, details, args)
    if args.sweep:
        points, words = cuts.sweep(method, args.nj)
        weights = _tuned(points, args.out)
        details["tuned_on_this_set"] = True
    else:
        weights, _ = _given_weights(args)
        words = {} if args.nbest else cuts.decode(method, weights, args.nj)
    if args.nbest:
        found = cuts.nbest(method, weights, args.nbest, args.nj)
        _write_nbest(args.out / "nbest.jsonl", found, weights)
        words = {name: each[0].words if each else [] for name, each in found.items()}
    return words, {"weights": weights.values(), **details}


def _decode_rescored(
    cuts: "RecognitionSet", method: "Method", details: dict[str, Any], args: argparse.Namespace
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Search with the n-gram's weights, then choose among the best hypotheses with those of all scores."""
    from speechkit.tasks.language_model import LanguageModel

    model = LanguageModel.load(args.rescore_lm)
    weights, search = _given_weights(args)
    size = args.nbest or RESCORED
    found = cuts.rescored(cuts.nbest(method, search, size, args.nj), model)
    if args.sweep:
        weights = _tuned(cuts.tune(found), args.out, search)
        details["tuned_on_this_set"] = True
    found = {name: sorted(each, key=lambda one: -one.score(weights)) for name, each in found.items()}
    if args.nbest:
        _write_nbest(args.out / "nbest.jsonl", found, weights)
    details["beam"] |= {"nbest": size}
    shown = {**weights.values(), "neural": weights.neural}
    return {name: each[0].words for name, each in found.items()}, {"weights": shown, **details}


def _given_weights(args: argparse.Namespace) -> "tuple[Weights, Weights]":
    """The weights that choose among hypotheses, and those of the search that finds them."""
    from speechkit.common.errors import SpeechkitError
    from speechkit.common.files import read_json
    from speechkit.decode.beam import Weights

    if not args.weights and is_neural(args):
        search = Weights(lm=0.0, word=args.word_score, neural=args.neural_weight)
        return search, search
    if not args.weights:
        search = Weights(lm=args.lm_weight, word=args.word_score)
        return (replace(search, neural=args.neural_weight) if _rescores(args) else search), search
    given = read_json(args.weights)
    if ("search" in given) != (_rescores(args) and not args.sweep):
        state = "with" if "search" in given else "without"
        raise SpeechkitError(f"{args.weights} was tuned {state} a neural --rescore-lm; tune for this decoding on dev")
    return Weights(**given["best"]), search_weights(args, given.get("search", given["best"]))


def _tuned(points: "Sequence[SweepPoint]", out: Path, search: "Weights | None" = None) -> "Weights":
    """The best weights of a sweep, which is written down with those of the `search` that found the hypotheses."""
    from speechkit.common.files import write_json
    from speechkit.decode.sweep import at_edge, table

    best = points[0].weights
    for name in at_edge(points):
        log.warning("the best %s weight lies at the edge of its grid; a better one may lie beyond", name)
    log.info(
        "best of %d points: %s", len(points), ", ".join(f"{name} {value:g}" for name, value in best.values().items())
    )
    before = {"search": search.values()} if search else {}
    write_json(out / "weights.json", {"best": best.values(), **before, "points": table(points)})
    return best


def _write_nbest(path: Path, found: "Mapping[str, Sequence[Hypothesis]]", weights: "Weights") -> None:
    """One line for each utterance: its hypotheses, with scores in natural logs but for the n-gram's log10 ones."""
    import json

    from speechkit.common.files import write_text

    lines = []
    for name in sorted(found):
        rows = [
            {"words": each.words, "score": each.score(weights), "acoustic": each.acoustic, "lm": each.lm}
            | ({"neural": each.neural} if each.neural else {})
            for each in found[name]
        ]
        lines.append(json.dumps({"id": name, "hypotheses": rows}, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))
