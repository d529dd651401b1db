"""N-gram estimation: speechkit's own estimator against lmplz, both from a text file to an ARPA file."""

import argparse
import random
import subprocess
import tempfile
from pathlib import Path

from timing import compare


def write_text(path: Path, num_words: int) -> None:
    """Sentences of 20 words whose frequencies fall as 1 / rank, with some repeated phrases."""
    rng = random.Random(0)
    words = [f"word{index}" for index in range(20000)]
    weights = [1 / (index + 1) for index in range(len(words))]
    phrases = [rng.choices(words, weights, k=4) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as stream:
        for _ in range(num_words // 20):
            parts = [rng.choice(phrases) if rng.random() < 0.5 else rng.choices(words, weights, k=4) for _ in range(5)]
            stream.write(" ".join(word for part in parts for word in part) + "\n")


def main() -> None:
    """Check that both give the same model, then time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    from speechkit.lm.arpa import read_arpa
    from speechkit.lm.counts import count_ngrams, read_sentences
    from speechkit.lm.kneser_ney import estimate
    from speechkit.lm.lmplz import find_lmplz, run_lmplz

    program = find_lmplz()
    if program is None:
        raise SystemExit("lmplz not found; run tools/install_kenlm.sh first")
    with tempfile.TemporaryDirectory() as name:
        text, ours, theirs = (Path(name) / each for each in ("text.txt", "ours.arpa", "lmplz.arpa"))
        write_text(text, args.words)

        def own() -> None:
            estimate(count_ngrams(read_sentences(text), args.order)).write(ours)

        def lmplz() -> None:
            run_lmplz(program, text, args.order, theirs)

        def lmplz_large() -> None:
            command = [str(program), "-o", str(args.order), "--text", str(text), "--arpa", str(theirs)]
            command += ["-S", "20%", "-T", name, "--discount_fallback"]
            subprocess.run(command, capture_output=True, check=True)

        own(), lmplz()
        pairs = list(zip(read_arpa(ours).levels, read_arpa(theirs).levels, strict=True))
        worst = max(abs(a - b) for x, y in pairs for ngram in y for a, b in zip(x[ngram], y[ngram], strict=True))
        size = sum(len(level) for level, _ in pairs)
        print(f"{args.words} words, order {args.order}, {size} n-grams, largest difference {worst:.1e} in log10")
        compare({"speechkit own": own, "lmplz": lmplz, "lmplz, 20 % of memory": lmplz_large}, args.repeats)


if __name__ == "__main__":
    main()
