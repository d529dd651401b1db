"""ARPA files of n-gram language models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path
from speechkit.text.lines import numbered_lines

Ngram = tuple[str, ...]


def write_arpa(path: Path, sizes: Sequence[int], sections: Iterable[Iterable[str]]) -> None:
    """Write a model atomically.

    Args:
        sizes: number of n-grams of each length.
        sections: for each length its lines, `log10 probability <tab> words <tab> log10 backoff`, ended by newlines.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("\\data\\\n")
        stream.writelines(f"ngram {length}={size}\n" for length, size in enumerate(sizes, start=1))
        for length, lines in enumerate(sections, start=1):
            stream.write(f"\n\\{length}-grams:\n")
            stream.writelines(lines)
        stream.write("\n\\end\\\n")


@dataclass(frozen=True)
class Arpa:
    """A model in memory: for each length a map from n-gram to (log10 probability, log10 backoff weight)."""

    levels: list[dict[Ngram, tuple[float, float]]]

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.levels)

    @property
    def words(self) -> list[str]:
        """All words, <s>, </s> and <unk> among them."""
        return [word for (word,) in self.levels[0]]

    def log10_prob(self, word: str, context: Sequence[str] = ()) -> float:
        """log10 P(word | context), backing off as far as needed; a word outside the model counts as <unk>."""
        known = self.levels[0]
        history = tuple(item if (item,) in known else "<unk>" for item in context)[
            max(0, len(context) - self.order + 1) :
        ]
        ngram = (*history, word if (word,) in known else "<unk>")
        backoff = 0.0
        while ngram not in self.levels[len(ngram) - 1]:
            backoff += self.levels[len(ngram) - 2].get(ngram[:-1], (0.0, 0.0))[1]
            ngram = ngram[1:]
            if not ngram:
                raise SpeechkitError(f"the language model has neither '{word}' nor <unk>")
        return backoff + self.levels[len(ngram) - 1][ngram][0]


def read_arpa(path: Path) -> Arpa:
    """Read an ARPA file, plain or gzip; a malformed one is a `SpeechkitError` naming file and line."""
    sizes: list[int] = []
    levels: list[dict[Ngram, tuple[float, float]]] = []
    ended = False
    for number, line in numbered_lines(path, "run stage 2, or correct --lm"):
        line = line.rstrip()
        try:
            if line.startswith("ngram ") and not levels:
                sizes.append(int(line.partition("=")[2]))
            elif line.endswith("-grams:"):
                levels.append({})
            elif line == "\\end\\":
                ended = True
            elif line and levels:
                ngram, values = _parsed(line, len(levels))
                levels[-1][ngram] = values
        except ValueError:
            raise SpeechkitError(
                f"{path}:{number}: not a line of an ARPA file: '{line}'; estimate the model again"
            ) from None
    if not ended or not levels or sizes != [len(level) for level in levels]:
        raise SpeechkitError(
            f"{path}: not a whole ARPA file (announced and found n-grams differ, or no \\end\\); estimate it again"
        )
    return Arpa(levels)


def _parsed(line: str, length: int) -> tuple[Ngram, tuple[float, float]]:
    prob, *rest = line.split()
    if len(rest) not in (length, length + 1):
        raise ValueError(line)
    return tuple(rest[:length]), (float(prob), float(rest[length]) if len(rest) > length else 0.0)
