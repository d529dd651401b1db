"""Graphs in files that every process maps instead of reading: one file, one copy in memory, however many jobs use it.

The file is in the safetensors format (a length, a JSON header, the arrays), which any safetensors reader opens; the
header's metadata say whether it holds a graph or a batch, and a checksum of the arrays. It is read and written here
with NumPy alone. Arrays are mapped copy-on-write: writing to them changes neither the file nor another process.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechkit.common.errors import SpeechkitError
from speechkit.common.files import atomic_path, require_file
from speechkit.fsa.graph import Graph, GraphBatch

Array = npt.NDArray[Any]
GRAPH, BATCH = "speechkit graph", "speechkit graph batch"
TYPES: dict[str, np.dtype[Any]] = {"I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "F32": np.dtype("<f4")}
AUX = "aux."
LONGEST_HEADER = 1 << 20
CHUNK = 1 << 24


def save_graph(path: Path, graph: Graph) -> None:
    """Write a graph atomically."""
    arrays = {name: getattr(graph, name) for name in ("source", "destination", "label", "score")}
    arrays |= {AUX + name: values for name, values in graph.aux.items()}
    _write(path, arrays, {"kind": GRAPH, "num_states": str(graph.num_states)})


def load_graph(path: Path) -> Graph:
    """Map a graph that `save_graph` wrote.

    Raises:
        SpeechkitError: the file is missing, damaged, or something else; names it.
    """
    arrays, metadata = _read(path, GRAPH)
    try:
        aux = {name.removeprefix(AUX): arrays.pop(name) for name in list(arrays) if name.startswith(AUX)}
        graph = Graph(**arrays, num_states=int(metadata["num_states"]), aux=aux)
        graph.check()
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return graph


def save_batch(path: Path, graphs: GraphBatch) -> None:
    """Write a batch of graphs atomically; of `score`, the values."""
    arrays = {name: value.detach().cpu().numpy() for name, value in vars(graphs).items() if name != "aux"}
    arrays |= {AUX + name: values.cpu().numpy() for name, values in graphs.aux.items()}
    _write(path, arrays, {"kind": BATCH})


def load_batch(path: Path) -> GraphBatch:
    """Map a batch that `save_batch` wrote, as tensors on the CPU.

    Raises:
        SpeechkitError: the file is missing, damaged, or something else; names it.
    """
    arrays, _ = _read(path, BATCH)
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    aux = {name.removeprefix(AUX): tensors.pop(name) for name in list(tensors) if name.startswith(AUX)}
    try:
        return GraphBatch(**tensors, aux=aux)
    except TypeError as error:
        raise _damaged(path, str(error)) from error


def _write(path: Path, arrays: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """Write arrays, those of wider items first, so that each begins where its type may."""
    names = {dtype: name for name, dtype in TYPES.items()}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, Any] = {}
    end = checksum = 0
    for name, values in ordered:
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": names[values.dtype], "shape": list(values.shape), "data_offsets": [begin, end]}
        checksum = zlib.crc32(np.ascontiguousarray(values).data, checksum)
    header["__metadata__"] = {**metadata, "crc32": f"{checksum:08x}"}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for _, values in ordered:
            stream.write(np.ascontiguousarray(values).data)


def _read(path: Path, kind: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Map the arrays of a file of some kind, after checking that it is whole."""
    require_file(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if length <= LONGEST_HEADER else b""
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__")
        if metadata["kind"] != kind:
            raise SpeechkitError(f"{path} holds a {metadata['kind']}, not a {kind}")
        size = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        held = path.stat().st_size - 8 - length
        if held != size:
            raise _damaged(path, f"it has {held} bytes of data where there should be {size}")
        content = np.memmap(path, np.uint8, "c", offset=8 + length) if size else np.zeros(0, np.uint8)
        arrays = {name: _mapped(content, **entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "its header does not describe it") from error
    checksum = 0
    for begin in range(0, len(content), CHUNK):
        checksum = zlib.crc32(content[begin : begin + CHUNK].data, checksum)
    if f"{checksum:08x}" != metadata.get("crc32"):
        raise _damaged(path, "its checksum differs")
    return arrays, metadata


def _mapped(content: Array, dtype: str, shape: list[int], data_offsets: list[int]) -> Array:
    """One array of a file, as a plain array whose memory is the file's."""
    begin, end = data_offsets
    array: Array = np.asarray(content[begin:end]).view(TYPES[dtype]).reshape(shape)
    return array


def _damaged(path: Path, how: str) -> SpeechkitError:
    return SpeechkitError(f"{path} is damaged or no graph ({how}): delete it and run the step that writes it again")
