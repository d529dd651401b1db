"""Word error counting: speechkit against kaldialign and jiwer on 10,000 pairs of about 20 words."""

import argparse
import random

from timing import compare


def corpus(num_pairs: int, seed: int) -> tuple[list[str], list[str]]:
    """Random sentences and copies of them with about 12 % of errors."""
    rng = random.Random(seed)
    vocabulary = [f"word{index}" for index in range(5000)]
    references, hypotheses = [], []
    for _ in range(num_pairs):
        words = rng.choices(vocabulary, k=rng.randint(10, 30))
        heard: list[str] = []
        for word in words:
            draw = rng.random()
            if draw >= 0.04:
                heard.append(rng.choice(vocabulary) if draw < 0.09 else word)
            if draw > 0.97:
                heard.append(rng.choice(vocabulary))
        references.append(" ".join(words))
        hypotheses.append(" ".join(heard))
    return references, hypotheses


def main() -> None:
    """Check that all count the same errors, then time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10000)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    import jiwer
    import kaldialign

    from speechkit.metrics.edit import alignments, edit_counts

    references, hypotheses = corpus(args.pairs, seed=0)
    ref_words, hyp_words = [text.split() for text in references], [text.split() for text in hypotheses]

    def ours() -> int:
        return int(edit_counts(ref_words, hyp_words).sum())

    def ours_from_strings() -> int:
        return int(edit_counts([text.split() for text in references], [text.split() for text in hypotheses]).sum())

    def kaldialign_counts() -> int:
        pairs = zip(ref_words, hyp_words, strict=True)
        return sum(kaldialign.edit_distance(reference, hypothesis)["total"] for reference, hypothesis in pairs)

    def jiwer_counts() -> int:
        found = jiwer.process_words(references, hypotheses)
        return found.insertions + found.deletions + found.substitutions

    counted = {ours(), ours_from_strings(), kaldialign_counts(), jiwer_counts()}
    assert len(counted) == 1, f"the tools differ: {counted}"
    print(f"{args.pairs} pairs, {counted.pop()} errors by all")
    print("\ncounts")
    compare(
        {
            "speechkit, word lists": ours,
            "speechkit, strings": ours_from_strings,
            "kaldialign edit_distance, word lists": kaldialign_counts,
            "jiwer process_words, strings": jiwer_counts,
        },
        args.repeats,
    )
    print("\nalignments")
    compare(
        {
            "speechkit, word lists": lambda: alignments(ref_words, hyp_words),
            "kaldialign align, word lists": lambda: [
                kaldialign.align(reference, hypothesis, "*")
                for reference, hypothesis in zip(ref_words, hyp_words, strict=True)
            ],
        },
        args.repeats,
    )


if __name__ == "__main__":
    main()
