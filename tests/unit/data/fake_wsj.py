"""A WSJ of a few utterances on disc folders, and an encoder of shorten, both written from their definitions."""

from pathlib import Path

import numpy as np
from fake_corpora import sphere, tone

LINES = {
    "011": ("the cat \\,COMMA sat \\.PERIOD", "A [loud_breath] dog . ran"),
    "401": ("left out", "left out too"),
    "4a0": ("Mr. O'Neil said *so*", "twenty-five \\-HYPHEN"),
    "4k0": ("dev one", "dev two"),
    "440": ("eval one", "eval two"),
    "4oa": ("hub %percent one", "hub .point two"),
}
AUDIO = {
    "011": "11-1.1/wsj0/si_tr_s",
    "401": "11-2.1/wsj0/si_tr_s",
    "4a0": "13-1.1/wsj1/si_tr_s",
    "4k0": "13-16.1/wsj1/si_dt_20",
    "440": "11-14.1/wsj0/si_et_20",
    "4oa": "13-33.1/wsj1/si_et_h1/wsj64k",
}
DOTS = {
    "011": "11-4.1/wsj0/transcrp/dots/si_tr_s",
    "401": "11-4.1/wsj0/transcrp/dots/si_tr_s",
    "4a0": "13-34.1/wsj1/trans/wsj1/si_tr_s",
    "4k0": "13-34.1/wsj1/trans/wsj1/si_dt_20",
}
INDICES = {
    "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx": ("11_1_1:", (("011", ".wv1"), ("401", ".wv1"))),
    "13-34.1/wsj1/doc/indices/si_tr_s.ndx": ("13_1_1:", (("4a0", ".wv1"),)),
    "13-34.1/wsj1/doc/indices/h1_p0.ndx": ("13_16_1:", (("4k0", ".wv1"),)),
    "11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx": ("11_14_1: ", (("440", ""),)),
    "13-32.1/wsj1/doc/indices/wsj1/eval/h1_p0.ndx": ("13_32_1:", (("4oa", ".wv1"),)),
}


def fake_wsj(root: Path, num_samples: int = 4000, merged: bool = False, upper: bool = False) -> Path:
    """Six speakers with two utterances each; `merged` without disc folders, `upper` with file names in capitals."""

    def write(place: str, content: bytes) -> None:
        place = place.partition("/")[2] if merged else place
        path = root / (place.upper() if upper else place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    for speaker, lines in LINES.items():
        names = [f"{speaker}c020{number}" for number in (1, 2)]
        for number, name in enumerate(names):
            write(f"{AUDIO[speaker]}/{speaker}/{name}.wv1", sphere(tone(num_samples, number)))
        text = "".join(f"{line} ({name})\n" for name, line in zip(names, lines, strict=True))
        write(f"{DOTS.get(speaker, AUDIO[speaker])}/{speaker}/{speaker}c0200.dot", text.encode("latin-1"))
    for place, (disc, speakers) in INDICES.items():
        rows = [
            f"{disc}{AUDIO[speaker].partition('/')[2]}/{speaker}/{speaker}c020{number}{suffix}"
            for speaker, suffix in speakers
            for number in (1, 2)
        ]
        write(place, "".join(f"{row}\n" for row in [";; an index", *rows]).encode())
    write("13-34.1/wsj1/doc/train/spkrinfo.txt", b"; ID  Sex\n4A0  F  25\n4k0 m\n")
    return root


def shortened(samples: np.ndarray, claimed: int | None = None) -> bytes:
    """A SPHERE file with shorten coding (version 2) in `DIFF0` blocks: each sample by itself, Rice coded."""
    bits: list[str] = []

    def rice(value: int, width: int) -> None:
        bits.append("0" * (value >> width) + "1" + (format(value & ((1 << width) - 1), f"0{width}b") if width else ""))

    def number(value: int) -> None:
        rice(value.bit_length(), 2)
        rice(value, value.bit_length())

    block, width, signed_low_high = 256, 7, 5
    for value in (signed_low_high, 1, block, 0, 0, 0):  # type, channels, block size, order, means, bytes to skip
        number(value)
    for start in range(0, len(samples), block):
        piece = samples[start : start + block]
        if len(piece) != block:
            rice(5, 2)  # a new block size
            number(len(piece))
        rice(0, 2)
        rice(width, 3)
        for sample in piece.tolist():
            rice(2 * sample if sample >= 0 else -2 * sample - 1, width + 1)
    rice(4, 2)  # the end
    text = "".join(bits)
    text += "0" * (-len(text) % 32)
    packed = int(text, 2).to_bytes(len(text) // 8, "big")
    header = sphere(samples, claimed=claimed)[:1024].replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    return header[:1024].ljust(1024) + b"ajkg\x02" + packed
