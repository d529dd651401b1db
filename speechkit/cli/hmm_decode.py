"""Recognise a set by the hidden Markov models of `speechkit hmm`, on a graph of `speechkit graph --hmm`."""

import argparse
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit hmm-decode`."""
    parser.add_argument("--model", type=Path, required=True, help="aligner of `speechkit hmm`, such as exp/hmm/final")
    parser.add_argument("--graph", type=Path, required=True, help="graph of its states, of `speechkit graph --hmm`")
    parser.add_argument("--lang", type=Path, required=True, help="language folder, for the references of ref.txt")
    parser.add_argument(
        "--cuts", type=Path, required=True, help="cuts with features; cmvn.safetensors lies beside them"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for hyp.txt, ref.txt and decode.json")
    parser.add_argument("--lm-weight", type=float, default=2.3, help="factor of the LM's log10 probability")
    parser.add_argument("--word-score", type=float, default=0.0, help="added for each word")
    parser.add_argument("--weights", type=Path, help="weights.json of `speechkit unsup-select`, in place of these two")
    parser.add_argument("--acoustic-scale", type=float, help="of log-likelihoods; that of the model where left out")
    parser.add_argument("--beam", type=float, default=12.0, help="largest difference to the best hypothesis")
    parser.add_argument("--max-active", type=int, default=3000, help="hypotheses kept per frame at most")
    parser.add_argument("--nj", type=int, default=1, help="processes that search")


def run(args: argparse.Namespace) -> None:
    """Decode and write the results."""
    from speechkit.align.models import AlignerModel
    from speechkit.cli.decoding import write_decoding
    from speechkit.common.errors import UsageError
    from speechkit.common.files import read_json
    from speechkit.data.alignments import read_spoken
    from speechkit.decode.beam import Weights
    from speechkit.decode.methods import GraphMethod
    from speechkit.decode.wfst import WfstConfig
    from speechkit.tasks.hmm_recognition import hmm_words
    from speechkit.text.lang import Lang

    model, lang = AlignerModel.load(args.model), Lang.load(args.lang)
    scale = model.hmm.acoustic_scale if args.acoustic_scale is None else args.acoustic_scale
    if scale <= 0:
        raise UsageError(f"--acoustic-scale must be positive, not {scale:g}")
    given = read_json(args.weights)["best"] if args.weights else {"lm": args.lm_weight, "word": args.word_score}
    weights = Weights(**given)
    method = GraphMethod(args.graph, WfstConfig(beam=args.beam, max_active=args.max_active))
    start = time.monotonic()
    words = hmm_words(model, method, args.cuts, weights, scale, args.nj)
    said = [spoken for spoken in read_spoken(args.cuts) if lang.field in spoken.fields]
    write_decoding(
        args.out,
        words,
        {spoken.id: lang.reference(spoken.fields) for spoken in said},
        {
            "method": f"hmm, {args.graph.name}",
            "weights": weights.values(),
            "acoustic_scale": scale,
            "beam": {"beam": args.beam, "max_active": args.max_active},
        },
        seconds=time.monotonic() - start,
        audio=sum(spoken.duration for spoken in read_spoken(args.cuts)),
    )
