"""How good transcripts are that no reference exists for, by a language model of phones and the symbols they use.

Within a training the metric of wav2vec-U's published code chooses the checkpoint, between trainings the rule of the
paper (Baevski et al. 2021, section 3.3, equations 5 and 6).
"""

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import read_json, write_json
from speechkit.decode.rescore import sentence_score
from speechkit.lm.arpa import Arpa

SELECTION, FINAL, RUN, TRAINED = "selection.json", "final", "run.json", "trained"
USAGE_POWER = 2  # of the share of symbols used, in the metric
SLACK = math.log(1.2)  # of equation 5


@dataclass(frozen=True)
class Figures:
    """What is known of a set's transcripts: their log10 probability under a phone n-gram, with all sentence ends.

    Attributes:
        symbols: in all transcripts, silence left out.
        used: how many different ones, `vocabulary` of which there are.
        evenness: perplexity of the distribution of symbols.
    """

    log10_prob: float
    symbols: int
    sentences: int
    used: int
    vocabulary: int
    evenness: float

    @classmethod
    def of(cls, transcripts: Iterable[Sequence[str]], model: Arpa, vocabulary: int) -> "Figures":
        """Score transcripts."""
        score, sentences, counts = 0.0, 0, Counter[str]()
        for symbols in transcripts:
            score, sentences = score + sentence_score(symbols, model), sentences + 1
            counts.update(symbols)
        total = counts.total()
        entropy = -sum(count / total * math.log(count / total) for count in counts.values())
        return cls(score, total, sentences, len(counts), vocabulary, math.exp(entropy))

    @property
    def usage(self) -> float:
        """The share of symbols that are used."""
        return self.used / self.vocabulary

    @property
    def nll(self) -> float:
        """Negative natural-log probability for each symbol or sentence end, NLL_LM of the paper."""
        return -math.log(10) * self.log10_prob / max(1, self.symbols + self.sentences)

    @property
    def perplexity(self) -> float:
        """For each symbol or sentence end."""
        return math.exp(self.nll)

    @property
    def metric(self) -> float:
        """Perplexity over the squared usage, less is better; infinite for empty transcripts."""
        return self.perplexity / self.usage**USAGE_POWER if self.used else math.inf

    def values(self) -> dict[str, float]:
        """For logs and tables."""
        return {
            "metric": self.metric, "lm_perplexity": self.perplexity, "usage": self.usage, "evenness": self.evenness,
            "log10_prob": self.log10_prob, "symbols": self.symbols, "sentences": self.sentences, "used": self.used,
            "vocabulary": self.vocabulary,
        }  # fmt: skip

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Figures":
        """The inverse of `values`."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def chosen(runs: Sequence[Figures]) -> int:
    """The run that equations 5 and 6 take: of those whose perplexity is close to the best one's, the likeliest.

    The best, P^, has the least `NLL - log U`, where U is the usage. A run P is close to it if `NLL(P) < NLL(P^) +
    log(U(P) / U(P^)) + log 1.2`; of these, the one whose transcripts have the greatest log-probability, not divided by
    their length, is taken.
    """
    used = [index for index, each in enumerate(runs) if each.used]
    if not used:
        raise SpeechkitError("no run has transcripts that are not empty; train with other seeds or weights")
    scores = [each.nll - math.log(each.usage) if each.used else math.inf for each in runs]
    best = min(scores)
    return max((index for index in used if scores[index] < best + SLACK), key=lambda index: runs[index].log10_prob)


def select(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Choose among runs of `speechkit gan`, copy the chosen one's checkpoint and record to `out`, say what was seen.

    Runs that have collapsed are left out.

    Raises:
        SpeechkitError: nothing to choose from, or runs that were measured on different sets, symbols or models.
    """
    documents = {run: read_json(run / SELECTION) for run in runs}
    trained = [run for run, each in documents.items() if each["state"] == TRAINED]
    if not trained:
        states = "; ".join(f"{run}: {each['state']}" for run, each in documents.items())
        raise SpeechkitError(f"no run is left to choose from ({states}); train with other seeds or weights")
    first = trained[0]
    for run in trained[1:]:
        for name in ("lm", "sentences", "vocabulary"):
            if documents[run][name] != documents[first][name]:
                raise SpeechkitError(
                    f"{run} and {first} differ in {name} ({documents[run][name]} and {documents[first][name]}); choose "
                    "among runs of the same data, text and language model"
                )
    best = trained[chosen([Figures.from_values(documents[run]) for run in trained])]
    out.mkdir(parents=True, exist_ok=True)
    _copy(best / FINAL, out / FINAL)
    run = read_json(best / RUN)
    write_json(out / RUN, {**run, "system": f"{run['system']} chosen of {len(runs)}"})
    found = {"chosen": str(best), **documents[best], "runs": {str(run): each for run, each in documents.items()}}
    write_json(out / SELECTION, found)
    return found


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise SpeechkitError(f"{source} does not exist; run `speechkit gan` again")
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
