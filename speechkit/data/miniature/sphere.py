"""NIST SPHERE, the audio format of TIMIT and WSJ: a text header of 1024 bytes before the samples."""

import numpy as np
import numpy.typing as npt

_HEADER_BYTES = 1024


def encode(samples: npt.NDArray[np.int16], sample_rate: int, database: str, version: str, utterance: str) -> bytes:
    """One channel of 16-bit samples as the bytes of a SPHERE file (little-endian, `sample_byte_format` 01)."""
    fields: list[tuple[str, str | int]] = [
        ("database_id", database),
        ("database_version", version),
        ("utterance_id", utterance),
        ("channel_count", 1),
        ("sample_count", len(samples)),
        ("sample_rate", sample_rate),
        ("sample_min", int(samples.min())),
        ("sample_max", int(samples.max())),
        ("sample_n_bytes", 2),
        ("sample_byte_format", "01"),
        ("sample_sig_bits", 16),
    ]
    lines = ["NIST_1A", f"{_HEADER_BYTES:7d}"]
    lines += [
        f"{name} -i {value}" if isinstance(value, int) else f"{name} -s{len(value)} {value}" for name, value in fields
    ]
    header = "\n".join([*lines, "end_head", ""]).encode("ascii")
    return header.ljust(_HEADER_BYTES, b" ") + samples.astype("<i2").tobytes()
