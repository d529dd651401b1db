"""Drawings of graphs: as DOT text, and through Graphviz as SVG, PNG or PDF."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.files import atomic_path, write_text
from speechkit.fsa.graph import FINAL_LABEL, NO_AUX, Graph

Names = Mapping[int, str] | Sequence[str]
IMAGES = ("svg", "png", "pdf")
# For Graphviz, which takes minutes for a dense graph of a thousand arcs.
SECONDS = 60


def to_dot(graph: Graph, labels: Names | None = None, aux: Mapping[str, Names | None] | None = None) -> str:
    """DOT text of a graph, left to right, the final state with a double ring.

    An arc reads "label:aux/score"; a score of 0 is left out, and so is the label of arcs into the final state.

    Args:
        labels: names of the labels, by number; numbers without a name stand for themselves.
        aux: which aux labels to write, each with their names or None.
    """
    lines = ["digraph graph_ {", "  rankdir=LR;", "  node [shape=circle];"]
    lines += [f"  {graph.num_states - 1} [shape=doublecircle];"] if graph.num_states else []
    shown = [(graph.aux[name].tolist(), names) for name, names in (aux or {}).items()]
    columns = zip(*(column.tolist() for column in (graph.source, graph.destination, graph.label)), strict=True)
    for arc, (source, destination, label) in enumerate(columns):
        parts = [_name(label, labels) if label != FINAL_LABEL else ""]
        parts += [_name(values[arc], names) for values, names in shown if values[arc] != NO_AUX]
        text = ":".join(parts)
        if score := float(graph.score[arc]):
            text += f"/{score:.4g}"
        lines.append(f"  {source} -> {destination} [label={_quoted(text)}];")
    return "\n".join([*lines, "}"]) + "\n"


def draw(graph: Graph, path: Path, labels: Names | None = None, aux: Mapping[str, Names | None] | None = None) -> None:
    """Draw a graph into a file of the kind that its suffix says: .dot, or .svg, .png, .pdf through Graphviz.

    Raises:
        UsageError: another suffix.
        SpeechkitError: Graphviz is not installed, fails, or takes too long for the graph.
    """
    kind = path.suffix.removeprefix(".")
    text = to_dot(graph, labels, aux)
    if kind == "dot":
        write_text(path, text)
    elif kind in IMAGES:
        _render(text, path, kind)
    else:
        raise UsageError(
            f"a graph cannot be drawn as '{path.name}': end it in .dot, {', '.join('.' + k for k in IMAGES)}"
        )


def _render(text: str, path: Path, kind: str) -> None:
    program = shutil.which("dot")
    if program is None:
        raise SpeechkitError(
            f"cannot draw {path}: Graphviz is not installed (apt-get install graphviz); a .dot file needs none"
        )
    with atomic_path(path) as temporary:
        command = [program, f"-T{kind}", "-o", str(temporary)]
        try:
            done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SpeechkitError(
                f"cannot draw {path}: Graphviz took more than {SECONDS} s for the graph; draw a part of it, "
                "or a .dot file"
            ) from error
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip() or f"it ended with {done.returncode}"
            raise SpeechkitError(f"cannot draw {path}: Graphviz failed: {reason}")


def _name(number: int, names: Names | None) -> str:
    if isinstance(names, Mapping):
        return names.get(number, str(number))
    return names[number] if names is not None and 0 <= number < len(names) else str(number)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
