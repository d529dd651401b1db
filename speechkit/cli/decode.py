"""Recognise a set: greedily, or by a search with a language model whose weights are tuned on dev."""

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.decode.beam import Hypothesis, Weights
    from speechkit.decode.methods import Method
    from speechkit.tasks.recognition import RecognitionSet

log = logging.getLogger(__name__)
BEAMS = {"beam": 50.0, "wfst": 12.0}


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
    parser.add_argument("--weights", type=Path, help="weights.json of a sweep on the development set")
    parser.add_argument(
        "--lm-weight", type=float, default=1.0, help="factor of the LM's log10 probability, without --weights"
    )
    parser.add_argument("--word-score", type=float, default=0.0, help="added for each word, without --weights")
    parser.add_argument(
        "--beam",
        type=float,
        help="beam: hypotheses kept per frame (50 without this option); wfst: largest difference to the best (12)",
    )
    parser.add_argument("--max-active", type=int, default=3000, help="hypotheses kept per frame at most, for wfst")
    parser.add_argument("--nbest", type=int, metavar="N", help="write the N best hypotheses to nbest.jsonl too")
    parser.add_argument("--rescore-lm", type=Path, help="n-gram (ARPA) whose scores count in the end")
    parser.add_argument("--nj", type=int, default=1, help="processes that search")


def run(args: argparse.Namespace) -> None:
    """Decode and write the results."""
    import torch

    from speechkit.common.files import write_json, write_text
    from speechkit.tasks.ctc import Recognizer
    from speechkit.tasks.recognition import RecognitionSet

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
    figures = {"method": args.method, **details, "real_time_factor": seconds / max(audio, 1e-9), "audio_seconds": audio}
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
    if args.sweep and (args.weights or args.method == "greedy"):
        raise UsageError("--sweep looks for the weights of a language model; leave out --weights and greedy decoding")
    if args.method == "greedy" and (args.nbest or args.rescore_lm):
        raise UsageError("--nbest and --rescore-lm go with --method beam or wfst")
    if args.nbest is not None and args.nbest < 1:
        raise UsageError(f"--nbest is at least 1, not {args.nbest}")


def _decode(cuts: "RecognitionSet", args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, Any]]:
    from dataclasses import asdict

    from speechkit.common.files import read_json, write_json
    from speechkit.decode.beam import Weights
    from speechkit.decode.sweep import at_edge, table

    if args.method == "greedy":
        return cuts.decode_greedy(), {}
    method, details = _method(cuts, args)
    if args.sweep:
        points, words = cuts.sweep(method, args.nj)
        weights = points[0].weights
        for name in at_edge(weights):
            log.warning("the best %s weight lies at the edge of its grid; a better one may lie beyond", name)
        log.info("best of %d points: LM weight %g, word score %g", len(points), weights.lm, weights.word)
        write_json(args.out / "weights.json", {"best": asdict(weights), "points": table(points)})
        details["tuned_on_this_set"] = True
    else:
        given = read_json(args.weights)["best"] if args.weights else {"lm": args.lm_weight, "word": args.word_score}
        weights = Weights(**given)
        words = {} if args.nbest else cuts.decode(method, weights, args.nj)
    if args.nbest:
        found = cuts.nbest(method, weights, args.nbest, args.nj)
        _write_nbest(args.out / "nbest.jsonl", found, weights)
        words = {name: each[0].words if each else [] for name, each in found.items()}
    return words, {"weights": asdict(weights), **details}


def _method(cuts: "RecognitionSet", args: argparse.Namespace) -> "tuple[Method, dict[str, Any]]":
    """The way to decode, and what the table of results tells of it."""
    from dataclasses import asdict

    from speechkit.decode.beam import BeamConfig
    from speechkit.decode.methods import BeamMethod, GraphMethod
    from speechkit.decode.wfst import WfstConfig

    beam = BEAMS[args.method] if args.beam is None else args.beam
    rescored = {"rescored_with": str(args.rescore_lm)} if args.rescore_lm else {}
    if args.method == "beam":
        config = BeamConfig(size=int(beam))
        return BeamMethod(cuts.lang(), args.lm, config, args.rescore_lm), {"beam": asdict(config), **rescored}
    search = WfstConfig(beam=beam, max_active=args.max_active)
    method = GraphMethod(args.graph, search, args.wfst_backend, cuts.topology(), args.rescore_lm)
    return method, {
        "beam": {"beam": beam, "max_active": args.max_active},
        "backend": args.wfst_backend,
        **rescored,
    }


def _write_nbest(path: Path, found: "Mapping[str, Sequence[Hypothesis]]", weights: "Weights") -> None:
    """One line for each utterance: its hypotheses, with scores in natural logs but for the LM's log10 probability."""
    import json

    from speechkit.common.files import write_text

    lines = []
    for name in sorted(found):
        rows = [
            {"words": each.words, "score": each.score(weights), "acoustic": each.acoustic, "lm": each.lm}
            for each in found[name]
        ]
        lines.append(json.dumps({"id": name, "hypotheses": rows}, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))
