"""Compile a decoding graph from the lexicon of a language folder and an n-gram language model."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `speechkit graph`."""
    parser.add_argument("--lang", type=Path, required=True, help="language folder with tokens and lexicon")
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

    from speechkit.common.errors import UsageError
    from speechkit.fsa.wfst.compile import CompileLimits, compile_graph
    from speechkit.fsa.wfst.graph import Topology
    from speechkit.lm.arpa import read_arpa
    from speechkit.text.lang import Lang

    limits = CompileLimits()
    if args.max_seconds is not None:
        limits = replace(limits, seconds=args.max_seconds)
    if args.max_memory is not None:
        limits = replace(limits, memory=int(args.max_memory * (1 << 30)))
    if limits.seconds <= 0 or limits.memory <= 0:
        raise UsageError("--max-seconds and --max-memory are above 0")
    lang = Lang.load(args.lang)
    entries = [(word, lang.tokens.ids(spelling)) for word, spelling in lang.lexicon.entries]
    graph = compile_graph(
        entries,
        read_arpa(args.lm).levels,
        list(lang.tokens),
        topology=Topology(args.topology),
        limits=limits,
    )
    graph.save(args.out)
    print(f"decoding graph of {len(graph.words) - 1} words with {graph.num_arcs} arcs in {args.out}")
