"""Alignments of one set as files: CTM, TextGrid, Lhotse cuts, frame labels, and a report."""

import gzip
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from speechkit.align.ctm import ctm_lines
from speechkit.align.forced import Failure
from speechkit.align.segments import PHONE, STATE, TOKEN, WORD, Alignment, Segment
from speechkit.align.textgrid import write_textgrid
from speechkit.common.files import atomic_path, write_json
from speechkit.data.alignments import Spoken
from speechkit.data.labels import LabelWriter, every

FORMATS = ("ctm", "textgrid", "lhotse", "labels")
DOUBTFUL = 10  # utterances of least confidence that a summary names


@dataclass(frozen=True)
class Layout:
    """What is written of a set, and how.

    Attributes:
        formats: some of `FORMATS`.
        names: of the frame labels.
        silences: units that a TextGrid leaves empty.
        frame_rate: frames a second.
        half_rate: also write frame labels at half the rate.
        textgrids: folder for TextGrids below that of the set, such as "textgrid".
        keep_features: cuts with alignments say where their features are.
    """

    formats: Collection[str]
    names: Sequence[str]
    silences: Collection[str]
    frame_rate: float
    half_rate: bool = True
    textgrids: str = "textgrid"
    keep_features: bool = True


@dataclass
class Summary:
    """Counts of one set."""

    aligned: int = 0
    seconds: float = 0.0
    methods: "Counter[str]" = field(default_factory=Counter)
    reasons: "Counter[str]" = field(default_factory=Counter)
    unknown_words: "Counter[str]" = field(default_factory=Counter)
    confidences: list[tuple[float, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Utterances without an alignment."""
        return sum(self.reasons.values())

    def figures(self) -> dict[str, Any]:
        """Everything as JSON."""
        total = sum(confidence for confidence, _ in self.confidences)
        return {
            "aligned": self.aligned,
            "hours": round(self.seconds / 3600, 4),
            "failed": self.failed,
            "methods": dict(self.methods.most_common()),
            "reasons": dict(self.reasons.most_common()),
            "unknown_words": dict(self.unknown_words.most_common()),
            "mean_confidence": round(total / max(1, len(self.confidences)), 4),
            "least_confident": [name for _, name in sorted(self.confidences)[:DOUBTFUL]],
        }


class AlignmentWriter:
    """Writes the alignments of set `name` to `folder` as they come; files appear when the context ends.

    `word_NAME.ctm`, `phone_NAME.ctm` and `state_NAME.ctm`; `textgrid/NAME/ID.TextGrid`; `cuts_NAME_ali.jsonl.gz`
    (without states); `labels_NAME_100hz` and `labels_NAME_50hz` (see `speechkit.data.labels`); `report_NAME.jsonl` with
    one line for each utterance, and `summary_NAME.json`. Without a name they are `word.ctm` and so on.
    """

    def __init__(self, folder: Path, name: str, layout: Layout) -> None:
        self.folder, self.name, self.layout = folder, name, layout
        self.summary = Summary()
        self._files = ExitStack()
        self._ctm: dict[str, TextIO] = {}

    def __enter__(self) -> "AlignmentWriter":
        rate, names = self.layout.frame_rate, self.layout.names
        self._report = self._text(self._named("report", ".jsonl"))
        self._cuts = self._packed(self._named("cuts", "_ali.jsonl.gz")) if "lhotse" in self.layout.formats else None
        self._labels: list[tuple[int, LabelWriter]] = []
        if "labels" in self.layout.formats:
            for factor in (1, 2) if self.layout.half_rate else (1,):
                stem = self._named("labels", f"_{rate / factor:g}hz")
                writer = LabelWriter(self.folder, stem, rate / factor, names)
                self._labels.append((factor, self._files.enter_context(writer)))
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)
        if error[0] is None:
            write_json(self.folder / self._named("summary", ".json"), self.summary.figures())

    def _named(self, what: str, ending: str) -> str:
        return f"{what}_{self.name}{ending}" if self.name else f"{what}{ending}"

    def _text(self, name: str) -> TextIO:
        path = self._files.enter_context(atomic_path(self.folder / name))
        return self._files.enter_context(path.open("w", encoding="utf-8"))

    def _packed(self, name: str) -> gzip.GzipFile:
        path = self._files.enter_context(atomic_path(self.folder / name))
        stream = self._files.enter_context(path.open("wb"))
        return self._files.enter_context(gzip.GzipFile("", "wb", 4, stream, mtime=0))

    def add(self, spoken: Spoken, result: Alignment | Failure) -> None:
        """Write one utterance, or why it has no alignment."""
        if isinstance(result, Failure):
            self.add_failure(result)
            return
        summary = self.summary
        summary.aligned += 1
        summary.seconds += result.duration
        summary.methods[result.method] += 1
        summary.confidences.append((result.confidence, result.id))
        figures = {"score_per_frame": round(result.score, 4), "confidence": round(result.confidence, 4)}
        self._write_line({"id": result.id, "status": "aligned", "method": result.method, **figures})
        self._write(spoken, result)

    def add_failure(self, failure: Failure) -> None:
        """Report an utterance that has no alignment."""
        self.summary.reasons[failure.reason.partition(":")[0]] += 1
        self.summary.unknown_words.update(failure.unknown_words)
        line: dict[str, Any] = {"id": failure.id, "status": "failed", "reason": failure.reason}
        if failure.unknown_words:
            line["unknown_words"] = list(failure.unknown_words)
        self._write_line(line)

    def _write_line(self, line: dict[str, Any]) -> None:
        self._report.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _write(self, spoken: Spoken, result: Alignment) -> None:
        """Write an alignment in all formats."""
        formats = self.layout.formats
        if "ctm" in formats:
            for kind, segments in result.tiers.items():
                if kind not in self._ctm:
                    self._ctm[kind] = self._text(self._named(kind, ".ctm"))
                self._ctm[kind].write(ctm_lines(result.id, segments))
        if "textgrid" in formats:
            path = self.folder / self.layout.textgrids / self.name / f"{result.id}.TextGrid"
            write_textgrid(path, result.duration, shown_tiers(result, self.layout.silences))
        if self._cuts is not None:
            tiers = {kind: _items(segments) for kind, segments in result.tiers.items() if kind != STATE}
            row = spoken.aligned(tiers)
            if not self.layout.keep_features:
                row.pop("features", None)
            self._cuts.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        for factor, writer in self._labels:
            writer.add(result.id, every(result.frame_labels, factor))


def shown_tiers(result: Alignment, silences: Collection[str]) -> dict[str, list[Segment]]:
    """The tiers for people to look at: words, phones or tokens, without silences and states."""
    kinds = [kind for kind in (WORD, PHONE, TOKEN) if kind in result.tiers]
    return {f"{kind}s": [item for item in result.tiers[kind] if item.label not in silences] for kind in kinds}


def _items(segments: Iterable[Segment]) -> list[tuple[str, float, float, float | None]]:
    return [(item.label, item.start, round(item.duration, 6), item.confidence) for item in segments]
