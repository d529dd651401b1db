"""k-means: speechkit against scikit-learn's MiniBatchKMeans with HuBERT's settings, and faiss, in one run and in turn.

100,000 points: 39-dim cepstra with derivatives of real recordings, 100 clusters; and 768 dimensions made of them by a
random layer with noise, 500 clusters. The last line is JSON: "ratio" is the least of scikit-learn's time / 5 and
faiss's / 1 over ours, what is asked being 1; "ratios" has each, "inertia" the mean squared distances.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from timing import compare
from torch import Tensor

from speechkit.cluster.kmeans import KMeansConfig, assign, fit
from speechkit.data.audio import read_audio
from speechkit.features.mfcc import Mfcc, MfccConfig

POINTS, WIDE = 100_000, 768
FAISS_ITERATIONS = 20


def cepstra(folder: Path) -> Tensor:
    """Points `(POINTS, 39)` of the recordings in a folder, over and over with a little noise if they are too few."""
    mfcc = Mfcc(MfccConfig())
    parts = []
    for path in sorted(folder.glob("*.wav")):
        samples, rate = read_audio(path)
        parts.append(mfcc.extract(torch.from_numpy(np.repeat(samples, 16000 // rate))))
    if not parts:
        raise SystemExit(f"{folder} holds no .wav files; name a folder of recordings with --recordings")
    found = torch.cat(parts)
    found = (found - found.mean(0)) / found.std(0)
    repeats = -(-POINTS // len(found))
    points = found.repeat(repeats, 1)[:POINTS]
    return points + 0.05 * torch.randn(points.shape)


def widened(points: Tensor) -> Tensor:
    """Points `(POINTS, WIDE)`."""
    hidden = torch.tanh(points @ (torch.randn(points.shape[1], WIDE) * 0.3))
    return hidden + 0.3 * torch.randn(hidden.shape)


def measure(points: Tensor, clusters: int, args: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Times of the others over ours, and mean squared distances."""
    import faiss
    from sklearn.cluster import MiniBatchKMeans

    array, centres = points.numpy(), {}
    faiss.omp_set_num_threads(args.threads)

    def ours() -> None:
        centres["speechkit"] = fit(points, KMeansConfig(clusters=clusters), torch.Generator().manual_seed(0))

    def sklearn() -> None:
        found = MiniBatchKMeans(
            clusters, batch_size=10_000, max_iter=100, tol=0.0, max_no_improvement=100, n_init=1,
            reassignment_ratio=0.0, random_state=0,
        ).fit(array)  # fmt: skip
        centres["scikit-learn"] = torch.from_numpy(found.cluster_centers_).float()

    def peer() -> None:
        found = faiss.Kmeans(
            points.shape[1], clusters, niter=FAISS_ITERATIONS, max_points_per_centroid=len(points), seed=1
        )
        found.train(array)
        centres["faiss"] = torch.from_numpy(found.centroids)

    seconds = compare({"speechkit": ours, "scikit-learn": sklearn, "faiss": peer}, args.repeats, warm_up=False)
    inertia = {name: round(float(assign(points, each)[1].double().mean()), 4) for name, each in centres.items()}
    print("mean squared distance: " + ", ".join(f"{name} {value}" for name, value in inertia.items()))
    return {name: seconds[name] / seconds["speechkit"] for name in ("scikit-learn", "faiss")}, inertia


def main() -> None:
    """Time all in turn, and see that ours is not worse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recordings", type=Path, default=Path(os.environ.get("SPEECHKIT_DIGITS", "../shared/data/fsdd"))
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    points = cepstra(args.recordings)
    ratios, inertias = {}, {}
    for name, data, clusters in (("39-dim k=100", points, 100), ("768-dim k=500", widened(points), 500)):
        print(f"\n{name}")
        found, inertias[name] = measure(data, clusters, args)
        ratios[name] = {who: round(value, 2) for who, value in found.items()}
        assert inertias[name]["speechkit"] <= 1.001 * min(inertias[name].values()), "ours is worse"
    least = min(min(each["scikit-learn"] / 5, each["faiss"]) for each in ratios.values())
    print(json.dumps({"ratio": round(least, 2), "ratios": ratios, "inertia": inertias, "threads": args.threads}))


if __name__ == "__main__":
    main()
