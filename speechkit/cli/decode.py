"""Recognise a set: greedily, or by beam search with a language model whose weights are tuned on dev."""

import argparse
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechkit.tasks.recognition import RecognitionSet

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit decode`."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="folder of a trained model, such as exp/fbank/final"
    )
    parser.add_argument(
        "--cuts", type=Path, required=True, help="cuts with features; cmvn.safetensors lies beside them"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for hyp.txt, ref.txt and decode.json")
    parser.add_argument("--method", choices=("greedy", "beam"), default="greedy", help="how to search")
    parser.add_argument("--lm", type=Path, help="n-gram in ARPA or KenLM's binary format, for --method beam")
    parser.add_argument(
        "--sweep", action="store_true", help="try a grid of weights and write the best to OUT/weights.json"
    )
    parser.add_argument("--weights", type=Path, help="weights.json of a sweep on the development set")
    parser.add_argument(
        "--lm-weight", type=float, default=1.0, help="factor of the LM's log10 probability, without --weights"
    )
    parser.add_argument("--word-score", type=float, default=0.0, help="added for each word, without --weights")
    parser.add_argument("--beam", type=int, default=50, help="hypotheses kept per frame")
    parser.add_argument("--nj", type=int, default=1, help="processes that search")


def run(args: argparse.Namespace) -> None:
    """Decode and write the results."""
    import torch

    from speechkit.common.errors import UsageError
    from speechkit.common.files import write_json, write_text
    from speechkit.tasks.ctc import Recognizer
    from speechkit.tasks.recognition import RecognitionSet

    if args.method == "beam" and args.lm is None:
        raise UsageError("--method beam needs --lm; without a language model use --method greedy")
    if args.sweep and (args.weights or args.method == "greedy"):
        raise UsageError("--sweep looks for the weights of --method beam; leave out --weights and greedy decoding")
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


def _decode(cuts: "RecognitionSet", args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, Any]]:
    from dataclasses import asdict

    from speechkit.common.files import read_json, write_json
    from speechkit.decode.beam import BeamConfig, Weights
    from speechkit.decode.sweep import at_edge, table

    if args.method == "greedy":
        return cuts.decode_greedy(), {}
    beam = BeamConfig(size=args.beam)
    if not args.sweep:
        given = read_json(args.weights)["best"] if args.weights else {"lm": args.lm_weight, "word": args.word_score}
        weights = Weights(**given)
        return cuts.decode_beam(args.lm, beam, weights, args.nj), {"weights": asdict(weights), "beam": asdict(beam)}
    points, words = cuts.sweep(args.lm, beam, args.nj)
    best = points[0]
    for name in at_edge(best.weights):
        log.warning("the best %s weight lies at the edge of its grid; a better one may lie beyond", name)
    log.info("best of %d points: LM weight %g, word score %g", len(points), best.weights.lm, best.weights.word)
    write_json(args.out / "weights.json", {"best": asdict(best.weights), "points": table(points)})
    return words, {"weights": asdict(best.weights), "beam": asdict(beam), "tuned_on_this_set": True}
