"""Graphs as text, one arc a line, as `k2.Fsa.from_str` reads and writes them.

Each line is source state, destination state, label, aux labels if any, score; the last line is the final state alone.
A graph without states is no text at all. OpenFst's text differs: its scores are costs, and its 0 is epsilon.
"""

from collections.abc import Sequence

from speechkit.common.errors import SpeechkitError
from speechkit.fsa.graph import Graph


def to_text(graph: Graph, aux: Sequence[str] = ()) -> str:
    """Write a graph, with the aux labels of these names before the score."""
    columns = [graph.source, graph.destination, graph.label, *(graph.aux[name] for name in aux), graph.score]
    # As text, a float32 is the shortest decimal that reads back as the same.
    lines = [" ".join(map(str, fields)) for fields in zip(*columns, strict=True)]
    if graph.num_states:
        lines.append(str(graph.num_states - 1))
    return "".join(line + "\n" for line in lines)


def from_text(text: str, aux: Sequence[str] = (), where: str = "the text") -> Graph:
    """Read a graph, with an aux label of each of these names before the score; arcs may come in any order.

    Raises:
        SpeechkitError: a line is no arc, or the arcs no graph of this kind; names `where` and the line.
    """
    lines = [(f"{where}, line {number}", line.split()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(place, fields) for place, fields in lines if fields]
    arcs = [_numbers(place, fields, 4 + len(aux)) for place, fields in lines[:-1]]
    final = int(_numbers(*lines[-1], 1)[0]) if lines else -1
    labels = {name: [int(arc[3 + place]) for arc in arcs] for place, name in enumerate(aux)}
    try:
        return Graph.from_arcs([(int(a[0]), int(a[1]), int(a[2]), a[-1]) for a in arcs], final + 1, labels)
    except ValueError as error:
        raise SpeechkitError(f"{where}: {error}") from error


def _numbers(place: str, fields: list[str], count: int) -> list[float]:
    """The fields of a line: whole numbers, of several the last any number."""
    if len(fields) != count:
        raise SpeechkitError(f"{place}: {len(fields)} fields where there should be {count}")
    try:
        return [*map(int, fields[: max(count - 1, 1)]), *map(float, fields[1:][-1:])]
    except ValueError as error:
        raise SpeechkitError(f"{place}: {error}") from error
