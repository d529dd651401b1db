"""Where the characters of utterances lie: files of start and end times, and the frames that are in them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechkit.common.errors import SpeechkitError
from speechkit.data.manifests import read_lines, write_lines

WINDOW = 0.025  # seconds that a frame sees, of filter banks and of wav2vec 2.0's extractor
Times = npt.NDArray[np.float64]
"""Start and end of each segment in seconds, `(S, 2)`, in order of time and without overlap."""


def set_name(cuts: Path) -> str:
    """The set of `cuts_<set>.jsonl.gz` or `cuts_<set>_ali.jsonl.gz`."""
    return cuts.name.partition(".")[0].removeprefix("cuts_").removesuffix("_ali")


def segments_of(folder: Path, name: str) -> Path:
    """The file of one set."""
    return folder / f"segments_{name}.jsonl.gz"


def write_segments(path: Path, found: Iterable[tuple[str, Sequence[tuple[float, float]]]]) -> None:
    """Write `{"id", "segments"}` of each utterance as a line of JSON; times are seconds."""
    write_lines(path, ({"id": name, "segments": [list(segment) for segment in each]} for name, each in found))


def read_segments(path: Path) -> dict[str, Times]:
    """Start and end times `(S, 2)` in seconds by utterance.

    Raises:
        SpeechkitError: the file is missing, damaged or empty, or holds something else.
    """
    found: dict[str, Times] = {}
    for row in read_lines(path):
        try:
            found[str(row["id"])] = np.array(row["segments"], dtype=np.float64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError) as error:
            raise SpeechkitError(f"{path} holds a line without segments; run `speechkit segments` again") from error
    if not found:
        raise SpeechkitError(f"{path} holds no segments; run `speechkit segments` again")
    return found


def to_frames(
    segments: Times | Sequence[tuple[float, float]], frame_shift: float, num_frames: int, window: float = WINDOW
) -> npt.NDArray[np.int64]:
    """Frames from start to before end of each segment, `(S, 2)`: those whose middles lie in it.

    The middle of frame t is at `t * frame_shift + window / 2`. Each segment has at least one frame, for which its
    neighbours give way where they must, and no frame is in two.

    Args:
        segments: start and end times in seconds, in order.
        frame_shift: seconds from one frame to the next.
        num_frames: of the utterance.
        window: seconds that a frame sees.

    Raises:
        SpeechkitError: there are more segments than frames.
    """
    times, count = np.asarray(segments, dtype=np.float64).reshape(-1, 2), len(segments)
    if count > num_frames:
        raise SpeechkitError(f"{count} segments do not fit into {num_frames} frames")
    first = np.ceil(np.round((times - window / 2) / frame_shift, 6)).astype(np.int64)
    places = np.arange(count)
    starts = np.maximum.accumulate(np.maximum(first[:, 0], 0) - places) + places
    starts = np.minimum(starts, num_frames - count + places)
    ends = np.minimum(np.maximum(first[:, 1], starts + 1), np.append(starts[1:], num_frames))
    return np.stack([starts, ends], axis=1)
