"""Any Lhotse manifest, of cuts or of recordings, as a folder of cuts that features are extracted from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechkit.common.errors import SpeechkitError
from speechkit.data.manifests import read_lines, write_lines

ALL = "all"  # the one split of what is not divided


def adopt_manifest(manifest: Path, folder: Path) -> None:
    """Write `folder/cuts_all.jsonl.gz` with the cuts of a Lhotse manifest, or one cut for each of its recordings.

    Raises:
        SpeechkitError: a line is neither a cut of one channel nor a recording, or its audio is not in a file.
    """
    write_lines(folder / f"cuts_{ALL}.jsonl.gz", _cuts(manifest))


def _cuts(manifest: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(read_lines(manifest), 1):
        cut = _whole(row) if "sources" in row else row
        sources = (cut.get("recording") or {}).get("sources", [])
        if cut.get("type") != "MonoCut" or [source["type"] for source in sources] != ["file"]:
            raise SpeechkitError(
                f"{manifest} line {number}: neither a recording nor a MonoCut with one audio file; mixed and "
                "multi-channel cuts must be saved as audio first (Lhotse: CutSet.save_audios)"
            )
        yield cut


def _whole(recording: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": recording["id"],
        "type": "MonoCut",
        "start": 0.0,
        "duration": recording["duration"],
        "channel": 0,
        "supervisions": [],
        "recording": recording,
    }
