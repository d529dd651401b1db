"""Recognise a set: greedily, or by a search with a language model whose weights are tuned on dev."""

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.decode.beam import Hypothesis, Weights
    from speechkit.decode.methods import Method
    from speechkit.decode.sweep import SweepPoint
    from speechkit.tasks.recognition import RecognitionSet

log = logging.getLogger(__name__)
BEAMS = {"beam": 50.0, "wfst": 12.0}
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
    parser.add_argument("--method", choices=("greedy", "beam", "wfst"), default="greedy", help="how to search")
    parser.add_argument("--lm", type=Path, help="n-gram in ARPA or KenLM's binary format, for --method beam")
    parser.add_argument("--graph", type=Path, help="decoding graph made by `speechkit graph`, for --method wfst")
    parser.add_argument(
        "--wfst-backend", default="built-in", help="what searches the graph: built-in, kaldi-decoder or k2"
    )
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
        "--neural-weight", type=float, default=1.0, help="factor of a neural --rescore-lm, without --weights"
    )
    parser.add_argument(
        "--beam",
        type=float,
        help="beam: hypotheses kept per frame (50 without this option); wfst: largest difference to the best (12)",
    )
    parser.add_argument("--max-active", type=int, default=3000, help="hypotheses kept per frame at most, for wfst")
    parser.add_argument("--nbest", type=int, metavar="N", help="write the N best hypotheses to nbest.jsonl too")
    parser.add_argument(
        "--rescore-lm",
        type=Path,
        metavar="LM",
        help="n-gram (ARPA) whose scores replace the first one's in the end, or folder of a neural model of `speechkit "
        f"lm` whose scores are added to it for the {RESCORED} (or --nbest) best hypotheses",
    )
    parser.add_argument("--nj", type=int, default=1, help="processes that search")


def run(args: argparse.Namespace) -> None:
    """Decode and write the results."""
    import torch

    from speechkit.common.files import write_json, write_text
    from speechkit.tasks.recognition import RecognitionSet
    from speechkit.tasks.recognizer import Recognizer

    _check(args)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuts = RecognitionSet(Recognizer.load(args.checkpoint), args.cuts, device)
    start = time.monotonic()
    words, details = _decode(cuts, args)
    seconds = time.monotonic() - start
    audio = sum(cut.duration for cut in cuts.cuts)
    references = cuts.references()
    for name, texts in (("hyp.txt", words), ("ref.txt", references)):
        lines = (" ".join([utterance, *texts[utterance]]) for utterance in sorted(references))
        write_text(args.out / name, "".join(f"{line}\n" for line in lines))
    method = f"{args.method}, neural LM" if _is_neural(args) else args.method
    figures = {"method": method, **details, "real_time_factor": seconds / max(audio, 1e-9), "audio_seconds": audio}
    write_json(args.out / "decode.json", figures)
    log.info(
        "%d utterances in %.1f s, real-time factor %.4f; hypotheses are in %s",
        len(words),
        seconds,
        seconds / audio,
        args.out,
    )


def _check(args: argparse.Namespace) -> None:
    from speechkit.common.errors import UsageError
    from speechkit.decode.graph_backends import check_backend

    check_backend(args.wfst_backend)
    if args.method == "beam" and args.lm is None:
        raise UsageError("--method beam needs --lm; without a language model use --method greedy")
    if args.method == "wfst" and args.graph is None:
        raise UsageError("--method wfst needs --graph; `speechkit graph` makes one from a lexicon and an LM")
    if args.method == "greedy" and (args.nbest or args.rescore_lm):
        raise UsageError("--nbest and --rescore-lm go with --method beam or wfst")
    if args.sweep and (args.method == "greedy" or (args.weights and not _is_neural(args))):
        raise UsageError("--sweep looks for the weights of a language model; leave out --weights and greedy decoding")
    if args.nbest is not None and args.nbest < 1:
        raise UsageError(f"--nbest is at least 1, not {args.nbest}")


def _is_neural(args: argparse.Namespace) -> bool:
    return args.rescore_lm is not None and args.rescore_lm.is_dir()


def _decode(cuts: "RecognitionSet", args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, Any]]:
    if args.method == "greedy":
        return cuts.decode_greedy(), {}
    method, details = _method(cuts, args)
    if _is_neural(args):
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

    if not args.weights:
        search = Weights(lm=args.lm_weight, word=args.word_score)
        return (replace(search, neural=args.neural_weight) if _is_neural(args) else search), search
    given = read_json(args.weights)
    if ("search" in given) != (_is_neural(args) and not args.sweep):
        state = "with" if "search" in given else "without"
        raise SpeechkitError(f"{args.weights} was tuned {state} a neural --rescore-lm; tune for this decoding on dev")
    return Weights(**given["best"]), Weights(**given.get("search", given["best"]))


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


def _method(cuts: "RecognitionSet", args: argparse.Namespace) -> "tuple[Method, dict[str, Any]]":
    """The way to decode, and what the table of results tells of it."""
    from dataclasses import asdict

    from speechkit.decode.beam import BeamConfig
    from speechkit.decode.methods import BeamMethod, GraphMethod
    from speechkit.decode.wfst import WfstConfig

    beam = BEAMS[args.method] if args.beam is None else args.beam
    rescored = {"rescored_with": str(args.rescore_lm)} if args.rescore_lm else {}
    ngram = None if _is_neural(args) else args.rescore_lm
    if args.method == "beam":
        config = BeamConfig(size=int(beam))
        return BeamMethod(cuts.lang(), args.lm, config, ngram), {"beam": asdict(config), **rescored}
    search = WfstConfig(beam=beam, max_active=args.max_active)
    method = GraphMethod(args.graph, search, args.wfst_backend, cuts.topology(), ngram)
    return method, {
        "beam": {"beam": beam, "max_active": args.max_active},
        "backend": args.wfst_backend,
        **rescored,
    }


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
