"""CTC loss and gradient on the CPU: speechkit against torch's own, with k2's exact and beamed intersection beside it.

Batch of 8 utterances, 500 frames; all build what they need from the targets, in one run and in turn. The last line is
JSON: "ratio" is torch's time over ours, the least of the set-ups; "ratios" has all of them, "peers" k2.
"""

import argparse
import json

import torch
from k2_peer import EXACT, K2Peer, find_k2
from simulated import simulate
from timing import compare
from torch import Tensor
from torch.nn import functional as F

from speechkit.losses.ctc import ctc_loss

BATCH, FRAMES = 8, 500
SETUPS = [(500, 100, False), (500, 100, True), (30, 200, False), (30, 200, True)]


def gradient_errors(log_probs: Tensor, targets: Tensor, lengths: Tensor, sizes: Tensor) -> dict[str, float]:
    """Largest error of the occupation probabilities of ours and of torch's float32, against torch's float64."""
    occupied = {}
    for name, values in (("ours", log_probs), ("torch", log_probs), ("exact", log_probs.double())):
        values = values.clone().requires_grad_()
        if name == "ours":
            ctc_loss(values, lengths, targets, sizes).backward()
            assert values.grad is not None
            occupied[name] = -values.grad.double()
            continue
        F.ctc_loss(values.transpose(0, 1), targets, lengths, sizes, reduction="sum").backward()
        # torch's gradient has that of log_softmax in it.
        assert values.grad is not None
        occupied[name] = (values.detach().exp() - values.grad).double()
    return {name: float((occupied[name] - occupied["exact"]).abs().max()) for name in ("ours", "torch")}


def measure(size: int, tokens: int, peaky: bool, args: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """Name of the set-up, and times of the others over ours."""
    log_probs, targets = simulate(BATCH, FRAMES, size, tokens, peaky)
    lengths, sizes = torch.full((BATCH,), FRAMES), torch.full((BATCH,), tokens)
    name = f"V={size} U={tokens} {'peaky' if peaky else 'random'}"
    print(f"\n{name}")
    leaf = log_probs.clone().requires_grad_()

    def ours() -> None:
        leaf.grad = None
        ctc_loss(leaf, lengths, targets, sizes).backward()

    def native() -> None:
        leaf.grad = None
        F.ctc_loss(leaf.transpose(0, 1), targets, lengths, sizes, reduction="sum").backward()

    errors = gradient_errors(log_probs, targets, lengths, sizes)
    print("largest error of an occupation probability: " + ", ".join(f"{who} {e:.1e}" for who, e in errors.items()))
    assert errors["ours"] < max(2 * errors["torch"], 1e-5), "not as exact as torch"
    candidates = {"speechkit": ours, "torch": native}
    python = find_k2()
    if python is not None:
        arrays = {"log_probs": log_probs.numpy(), "targets": targets.numpy()}
        peer = K2Peer(python, "ctc", arrays, args.threads)
        exact, beamed = (peer.run(beam)["total"] for beam in (EXACT, 10))
        print(f"log-likelihood of k2 exact {exact:.3f}, with output beam 10 {beamed:.3f}")
        candidates |= {"k2 exact": lambda: peer.run(EXACT), "k2 beam 10": lambda: peer.run(10)}
    seconds = compare(candidates, args.repeats)
    if python is not None:
        peer.close()
    return name, {other: seconds[other] / seconds["speechkit"] for other in seconds if other != "speechkit"}


def main() -> None:
    """Check that all agree, then time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if find_k2() is None:
        print("k2 is not installed (tools/install_k2.sh): torch alone")
    found = dict(measure(*setup, args) for setup in SETUPS)
    ratios = {name: round(times["torch"], 2) for name, times in found.items()}
    peers = {
        name: {who: round(each, 1) for who, each in times.items() if who != "torch"} for name, times in found.items()
    }
    print(json.dumps({"ratio": min(ratios.values()), "ratios": ratios, "peers": peers, "threads": args.threads}))


if __name__ == "__main__":
    main()
