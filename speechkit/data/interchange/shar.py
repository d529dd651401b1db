"""Lhotse Shar: cuts and their audio (and features) in tar files that are read from front to back.

https://lhotse.readthedocs.io/en/latest/cuts.html, `CutSet.to_shar` and `CutSet.from_shar`
"""

import shutil
from pathlib import Path

from lhotse import CutSet
from lhotse.audio import audio_backend

from speechkit.common.files import disk_errors


def write_shar(cuts: CutSet, folder: Path, shard_size: int) -> int:
    """Write shards of `shard_size` cuts with their audio, and features where the first cut has some.

    `folder` appears when all is written, in the place of an older one. Returns the number of shards.
    """
    first = next(iter(cuts))
    fields = {"recording": "flac"} | ({"features": "lilcom"} if first.has_features else {})
    part = folder.with_name(f".{folder.name}.part")
    with disk_errors(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with audio_backend("LibsndfileBackend"):  # which needs no program to read SPHERE
            paths = cuts.to_shar(part, fields=fields, shard_size=shard_size, verbose=False)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return len(paths["cuts"])
