"""Syllables of decoded Mandarin: their error rates, and how many wrong characters were heard rightly.

BERT-ASR (Huang et al. 2021) gives the syllable error rate beside that of characters, as Mandarin has many characters
of one sound: what is wrong in the characters and right in the syllables is an error of the language model. SER means
syllables here, not sentences.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.common.files import write_text
from speechkit.metrics.error_rate import ErrorCounts, count_corpus
from speechkit.report.scoring import Score, error_line, most_frequent
from speechkit.text.pinyin import is_chinese, syllables


@dataclass(frozen=True)
class Said:
    """One character of a reference: what was recognised for it (None: nothing), and both readings, tones included."""

    reference: str
    hypothesis: str | None
    syllable: str
    heard: str | None

    @property
    def is_wrong(self) -> bool:
        """Whether it was substituted or deleted."""
        return self.reference != self.hypothesis

    @property
    def is_homophone(self) -> bool:
        """Whether another character of the same syllable and tone stands for it."""
        return self.is_wrong and self.syllable == self.heard

    @property
    def is_homophone_without_tone(self) -> bool:
        """Whether another character of the same syllable stands for it, whatever the tone."""
        return self.is_wrong and self.heard is not None and _plain(self.syllable) == _plain(self.heard)


@dataclass(frozen=True)
class SyllableScore:
    """Errors of syllables with and without tones, and what became of each character of the references.

    Readings are pypinyin's, of references and hypotheses alike. A polyphone is a character that has several of them in
    these references; a neutral tone beside another does not count as one more (妈妈 ma1 ma5).
    A wrong neighbour can change the reading of a right character, so there may be more wrong syllables than characters.
    """

    with_tones: ErrorCounts
    without_tones: ErrorCounts
    said: list[Said]
    polyphones: dict[str, list[str]]

    @property
    def substituted(self) -> list[Said]:
        """Characters that another stands for."""
        return [each for each in self.said if each.is_wrong and each.hypothesis is not None]

    def lines(self, name: str) -> list[str]:
        """What is printed: two error rates and the shares of wrong characters."""
        found, total = self.figures(), len(self.substituted)
        same, toneless = found["homophone_substitutions"], found["homophone_substitutions_without_tones"]
        wrong, ambiguous = found["polyphone_errors"], found["polyphone_occurrences"]
        wrong_others, others = sum(each.is_wrong for each in self.said) - wrong, len(self.said) - ambiguous
        return [
            error_line("SER", self.without_tones, f"{name} (syllables without tones)"),
            error_line("SER", self.with_tones, f"{name} (syllables with tones)"),
            f"of {total} substituted characters {same} ({_percent(same, total)}) keep syllable and tone, "
            f"{toneless} ({_percent(toneless, total)}) the syllable",
            f"{_percent(wrong, ambiguous)} of {ambiguous} polyphones are wrong, "
            f"{_percent(wrong_others, others)} of {others} other characters",
        ]

    def figures(self) -> dict[str, Any]:
        """Everything in numbers, for result.json; rates are in percent."""
        ambiguous = [each for each in self.said if each.reference in self.polyphones]
        return {
            "syllable_error_rate": self.with_tones.rate,
            "syllable_error_rate_without_tones": self.without_tones.rate,
            "homophone_substitutions": sum(each.is_homophone for each in self.said),
            "homophone_substitutions_without_tones": sum(each.is_homophone_without_tone for each in self.said),
            "polyphone_characters": len(self.polyphones),
            "polyphone_occurrences": len(ambiguous),
            "polyphone_errors": sum(each.is_wrong for each in ambiguous),
        }


def score_syllables(score: Score) -> SyllableScore | None:
    """Count syllables of a set whose characters were scored, None if its references hold no Chinese ones.

    Raises:
        SpeechkitError: the pypinyin package is not installed.
    """
    references = [[item for item, _ in pairs if item is not None] for pairs in score.aligned]
    hypotheses = [[item for _, item in pairs if item is not None] for pairs in score.aligned]
    if not any(is_chinese(character) for characters in references for character in characters):
        return None
    with_tones, without_tones = (
        tuple([syllables(characters, tones) for characters in side] for side in (references, hypotheses))
        for tones in (True, False)
    )
    said = [
        each
        for pairs, *readings in zip(score.aligned, *with_tones, strict=True)
        for each in _characters(pairs, *readings)
    ]
    return SyllableScore(count_corpus(*with_tones), count_corpus(*without_tones), said, _polyphones(said))


def write_syllables(score: SyllableScore, folder: Path) -> None:
    """Write `syllables.txt`: substitutions that keep the syllable, with and without its tone, and the polyphones."""
    occurrences = Counter(each.reference for each in score.said)
    lines = ["# substitutions by a homophone: count, reference -> hypothesis, syllable, share of the reference's"]
    lines += _substitutions((each for each in score.said if each.is_homophone), occurrences)
    lines += ["", "# substitutions that keep the syllable but not its tone"]
    others = (each for each in score.said if each.is_homophone_without_tone and not each.is_homophone)
    lines += _substitutions(others, occurrences)
    lines += ["", "# polyphones: errors (substituted or deleted), occurrences, character, its readings here"]
    wrong = Counter(each.reference for each in score.said if each.is_wrong)
    for character, _ in most_frequent({each: wrong[each] for each in score.polyphones}):
        readings = " ".join(score.polyphones[character])
        lines.append(f"{wrong[character]:6d} / {occurrences[character]}  {character}  {readings}")
    write_text(folder / "syllables.txt", "\n".join(lines) + "\n")


def _characters(
    pairs: Sequence[tuple[str | None, str | None]], readings: Sequence[str], heard: Sequence[str]
) -> Iterable[Said]:
    ours, theirs = iter(readings), iter(heard)
    for reference, hypothesis in pairs:
        syllable = next(ours) if reference is not None else None
        other = next(theirs) if hypothesis is not None else None
        if reference is not None and syllable is not None:
            yield Said(reference, hypothesis, syllable, other)


def _polyphones(said: Iterable[Said]) -> dict[str, list[str]]:
    readings: dict[str, set[str]] = {}
    for each in said:
        readings.setdefault(each.reference, set()).add(each.syllable)
    return {character: sorted(found) for character, found in readings.items() if _are_several(found)}


def _are_several(readings: set[str]) -> bool:
    toned = {each for each in readings if not each.endswith("5")}
    return len(toned | {each for each in readings if _plain(each) not in map(_plain, toned)}) > 1


def _plain(syllable: str) -> str:
    """A syllable without its tone; what is not a syllable (a digit, ATM's letters) stays as it is."""
    return syllable[:-1] if len(syllable) > 1 else syllable


def _substitutions(found: Iterable[Said], occurrences: "Counter[str]") -> list[str]:
    counts = Counter((each.reference, each.hypothesis, each.syllable) for each in found)
    return [
        f"{count:6d}  {reference} -> {hypothesis}  {syllable}  {_percent(count, occurrences[reference])}"
        for (reference, hypothesis, syllable), count in most_frequent(counts)
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"
