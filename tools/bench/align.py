"""CTC forced alignment on the CPU: speechkit against torchaudio's forced_align in a loop, with k2 beside it.

Batch of 8 utterances with peaky log-probabilities; all start from the targets, in one run and in turn. Ours yields
labels and scores by frame, as forced_align does, and tokens. The last line is JSON: "ratio" is torchaudio's time over
ours, the least of the set-ups; "ratios" has all of them, "peers" k2.
"""

import argparse
import json

import torch
from k2_peer import K2Peer, find_k2
from simulated import simulate
from timing import compare
from torch import Tensor

from speechkit.fsa.ctc_batch import ctc_graphs
from speechkit.fsa.intersect import best_path

BATCH = 8
SETUPS = [(500, 500, 100), (500, 30, 200), (1500, 30, 400)]


def measure(frames: int, size: int, tokens: int, args: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """Name of the set-up, and times of the others over ours."""
    from torchaudio.functional import forced_align

    log_probs, targets = simulate(BATCH, frames, size, tokens, peaky=True)
    lengths, sizes = torch.full((BATCH,), frames), torch.full((BATCH,), tokens)
    name = f"T={frames} V={size} U={tokens}"
    print(f"\n{name}")

    def ours() -> tuple[Tensor, Tensor]:
        graphs = ctc_graphs(targets, sizes)
        best = best_path(log_probs, lengths, graphs, engine="torch")
        return best.labels(graphs), best.arc_scores

    def torchaudio() -> tuple[Tensor, Tensor]:
        found = [forced_align(log_probs[n : n + 1], targets[n : n + 1]) for n in range(BATCH)]
        return torch.cat([labels for labels, _ in found]), torch.cat([scores for _, scores in found])

    (labels, scores), (expected, their_scores) = ours(), torchaudio()
    assert torch.equal(labels, expected.long()), "the alignments differ"
    torch.testing.assert_close(scores, their_scores)
    print("labels and scores of all frames are the same")
    candidates = {"speechkit": ours, "torchaudio forced_align": torchaudio}
    python = find_k2()
    if python is not None:
        peer = K2Peer(python, "align", {"log_probs": log_probs.numpy(), "targets": targets.numpy()}, args.threads)
        found = peer.run(10)
        assert abs(found["total"] - float(scores.sum())) < 1e-4 * abs(found["total"]) + 1e-2
        candidates["k2 beam 10"] = lambda: peer.run(10)
    seconds = compare(candidates, args.repeats)
    if python is not None:
        peer.close()
    return name, {other: seconds[other] / seconds["speechkit"] for other in seconds if other != "speechkit"}


def main() -> None:
    """Check that all agree, then time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if find_k2() is None:
        print("k2 is not installed (tools/install_k2.sh): torchaudio alone")
    found = dict(measure(*setup, args) for setup in SETUPS)
    ratios = {name: round(times["torchaudio forced_align"], 2) for name, times in found.items()}
    peers = {
        name: {who: round(each, 1) for who, each in times.items() if who.startswith("k2")}
        for name, times in found.items()
    }
    print(json.dumps({"ratio": min(ratios.values()), "ratios": ratios, "peers": peers, "threads": args.threads}))


if __name__ == "__main__":
    main()
