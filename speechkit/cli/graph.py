"""Compile a decoding graph from the lexicon of a language folder and an n-gram language model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechkit.fsa.wfst.compile import CompileLimits
    from speechkit.fsa.wfst.graph import DecodingGraph, Topology
    from speechkit.lm.arpa import Arpa
    from speechkit.text.lang import Lang


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit graph`."""
    parser.add_argument("--lang", type=Path, required=True, help="language folder with tokens and lexicon")
    parser.add_argument("--hmm", type=Path, help="aligner of `speechkit hmm` whose states are read, not CTC's tokens")
    parser.add_argument("--lm", type=Path, required=True, help="n-gram model in ARPA format, plain or gzip")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--topology",
        choices=("ctc", "ctc-modified"),
        default="ctc",
        help="whether equal tokens in a row need a blank between them (ctc) or not",
    )
    parser.add_argument("--max-seconds", type=float, help="compilation may take so long (an hour, if not given)")
    parser.add_argument("--max-memory", type=float, help="and so many GiB (four fifths of what is free, if not given)")


def run(args: argparse.Namespace) -> None:
    """Compile and save."""
    from dataclasses import replace

    from speechkit.align.models import AlignerModel
    from speechkit.common.errors import UsageError
    from speechkit.fsa.wfst.compile import CompileLimits
    from speechkit.fsa.wfst.graph import Topology
    from speechkit.lm.arpa import read_arpa
    from speechkit.tasks.hmm_recognition import compile_hmm_graph
    from speechkit.text.lang import Lang

    limits = CompileLimits()
    if args.max_seconds is not None:
        limits = replace(limits, seconds=args.max_seconds)
    if args.max_memory is not None:
        limits = replace(limits, memory=int(args.max_memory * (1 << 30)))
    if limits.seconds <= 0 or limits.memory <= 0:
        raise UsageError("--max-seconds and --max-memory are above 0")
    lang = Lang.load(args.lang)
    model = read_arpa(args.lm)
    if args.hmm:
        graph = compile_hmm_graph(AlignerModel.load(args.hmm), lang, model, limits)
    else:
        graph = _ctc_graph(lang, model, Topology(args.topology), limits)
    graph.save(args.out)
    print(f"decoding graph of {len(graph.words) - 1} words with {graph.num_arcs} arcs in {args.out}")


def _ctc_graph(lang: "Lang", model: "Arpa", topology: "Topology", limits: "CompileLimits") -> "DecodingGraph":
    from speechkit.fsa.wfst.compile import compile_graph

    entries = [(word, lang.tokens.ids(spelling)) for word, spelling in lang.lexicon.entries]
    return compile_graph(entries, model.levels, list(lang.tokens), topology=topology, limits=limits)
