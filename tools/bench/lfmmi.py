"""The denominator of LF-MMI on the CPU, loss and gradient: speechkit against k2's exact intersection.

42 phones with a dense bigram, composed with the CTC topology: 86 states, 3,739 arcs. Batch of 8 utterances, 300 frames.
k2 is a process in its own environment that has the data; the two take turns. Memory is the peak of each process over
what it had before. The last line is JSON: "ratio" is k2's time over ours, the least of the set-ups; "ratios" has them
and k2 with an output beam of 10, which is not exact.
"""

import argparse
import json
import sys

import numpy as np
import torch
from k2_peer import EXACT, K2Peer, find_k2
from peak import Peak
from timing import compare
from torch import Tensor

from speechkit.fsa.graph import Graph, GraphBatch
from speechkit.fsa.intersect import total_scores
from speechkit.fsa.ngram_graph import token_ngram_graph

BATCH, FRAMES, PHONES = 8, 300, 42


def denominator() -> Graph:
    """A bigram with random probabilities, composed with the CTC topology."""
    rng = np.random.default_rng(0)
    arcs = []
    for before in range(PHONES + 1):
        weights = np.log(rng.dirichlet(np.ones(PHONES + 1)))
        arcs += [(before, phone, phone, weights[phone]) for phone in range(1, PHONES + 1)]
        if before:
            arcs.append((before, PHONES + 1, -1, weights[0]))
    graph = token_ngram_graph(Graph.from_arcs(arcs, PHONES + 2), PHONES + 1)
    assert (graph.num_states, graph.num_arcs) == (86, 3739)
    return graph


def log_probs_of(peaky: bool) -> Tensor:
    """Random ones, or with 10 more for a random label of each frame."""
    torch.manual_seed(0)
    logits = torch.randn(BATCH, FRAMES, PHONES + 1)
    if peaky:
        logits.scatter_add_(2, torch.randint(0, PHONES + 1, (BATCH, FRAMES, 1)), torch.full((BATCH, FRAMES, 1), 10.0))
    return logits.log_softmax(-1)


def measure(peaky: bool, args: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """Name of the set-up, and k2's times over ours."""
    graph, log_probs = denominator(), log_probs_of(peaky).requires_grad_()
    lengths = torch.full((BATCH,), FRAMES)
    name = "peaky" if peaky else "random"

    def ours() -> Tensor:
        log_probs.grad = None
        totals = total_scores(log_probs, lengths, GraphBatch.shared(graph, BATCH), engine="torch")
        totals.sum().backward()
        return totals.detach()

    # Once with little, to have the code in memory; then what the work itself takes.
    total_scores(log_probs[:2, :2], lengths[:2] * 0 + 2, GraphBatch.shared(graph, 2), engine="torch").sum().backward()
    peak = Peak()
    totals = ours()
    own = peak.megabytes()
    columns = np.stack([graph.source, graph.destination, graph.label], 1)
    arrays = {"log_probs": log_probs.detach().numpy(), "arcs": columns, "scores": graph.score}
    python = find_k2()
    assert python is not None
    peer = K2Peer(python, "graph", arrays, args.threads)
    beamed, exact = peer.run(10), peer.run()
    outcome = peer.outcome()
    lost = (exact["total"] - beamed["total"]) / BATCH
    print(f"\n{name}: memory over the start {own:.1f} MB, k2 {exact['peak']:.0f} MB, with beam {beamed['peak']:.0f} MB")
    assert log_probs.grad is not None
    apart = (log_probs.grad - torch.from_numpy(outcome["gradient"])).abs().max()
    score_apart = (totals / torch.from_numpy(outcome["totals"]) - 1).abs().max()
    print(
        f"differences from k2: scores {score_apart:.1e} relative, gradient {apart:.1e}; its beam loses {lost:.2f} nats"
    )
    assert score_apart < 1e-5
    assert apart < 1e-4
    assert own < 50, "more than 50 MB"
    candidates = {"speechkit": ours, "k2 exact": lambda: peer.run(EXACT), "k2 beam 10": lambda: peer.run(10)}
    seconds = compare(candidates, args.repeats)
    peer.close()
    return name, {other: seconds[other] / seconds["speechkit"] for other in seconds if other != "speechkit"}


def main() -> None:
    """Check that both agree, then time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if find_k2() is None:
        sys.exit("k2 is not installed: run tools/install_k2.sh, or name its environment in SPEECHKIT_K2_VENV")
    found = dict(measure(peaky, args) for peaky in (False, True))
    ratios = {f"{name}, {who}": round(each, 1) for name, times in found.items() for who, each in times.items()}
    ratio = min(round(times["k2 exact"], 1) for times in found.values())
    print(json.dumps({"ratio": ratio, "ratios": ratios, "threads": args.threads}))


if __name__ == "__main__":
    main()
