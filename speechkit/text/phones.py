"""The 61 phone labels of TIMIT and their customary 48- and 39-phone foldings.

Lee and Hon, "Speaker-independent phone recognition using hidden Markov models" (1989), in the form Kaldi's TIMIT
recipe uses: the glottal stop `q` is deleted, models have 48 phones, errors are counted on 39 with `sil` as a phone.
"""

from collections.abc import Sequence

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.common.names import nearest

PHONES_61 = (
    "aa", "ae", "ah", "ao", "aw", "ax", "ax-h", "axr", "ay", "b", "bcl", "ch", "d", "dcl", "dh", "dx", "eh", "el", "em",
    "en", "eng", "epi", "er", "ey", "f", "g", "gcl", "h#", "hh", "hv", "ih", "ix", "iy", "jh", "k", "kcl", "l", "m",
    "n", "ng", "nx", "ow", "oy", "p", "pau", "pcl", "q", "r", "s", "sh", "t", "tcl", "th", "uh", "uw", "ux", "v", "w",
    "y", "z", "zh",
)  # fmt: skip
DELETED = "q"
_FOLD_48 = {
    "ax-h": "ax", "axr": "er", "ux": "uw", "em": "m", "nx": "n", "eng": "ng", "hv": "hh", "h#": "sil", "pau": "sil",
    "bcl": "vcl", "dcl": "vcl", "gcl": "vcl", "pcl": "cl", "tcl": "cl", "kcl": "cl",
}  # fmt: skip
_FOLD_39 = {
    "ax": "ah", "ix": "ih", "ao": "aa", "zh": "sh", "el": "l", "en": "n", "cl": "sil", "vcl": "sil", "epi": "sil",
}  # fmt: skip


def _folded(phones: Sequence[str], changes: dict[str, str]) -> tuple[str, ...]:
    return tuple(sorted({changes.get(phone, phone) for phone in phones if phone != DELETED}))


PHONES_48 = _folded(PHONES_61, _FOLD_48)
PHONES_39 = _folded(PHONES_48, _FOLD_39)
PHONE_SETS = {61: PHONES_61, 48: PHONES_48, 39: PHONES_39}
_TO_48 = {phone: _FOLD_48.get(phone, phone) for phone in (*PHONES_61, *PHONES_48) if phone != DELETED}
_TO_39 = {phone: _FOLD_39.get(middle, middle) for phone, middle in _TO_48.items()}
_MAPS = {61: {phone: phone for phone in PHONES_61}, 48: _TO_48, 39: _TO_39}


def fold(phones: Sequence[str], to: int) -> list[str]:
    """Map phones of any equal or finer TIMIT set to the set of `to` (61, 48 or 39) phones.

    `q` is deleted when folding to 48 or 39; repeated phones are not merged, so only the `q`s are missing.

    Raises:
        SpeechkitError: a phone is not in the 61, 48 or 39 set (or, for 61, is not one of the 61).
        UsageError: `to` is not 61, 48 or 39.
    """
    if to not in _MAPS:
        raise UsageError(f"there is no TIMIT set of {to} phones; take 61, 48 or 39")
    mapping = _MAPS[to]
    kept = [phone for phone in phones if phone != DELETED or to == 61]
    try:
        return [mapping[phone] for phone in kept]
    except KeyError as error:
        phone = str(error.args[0])
        raise SpeechkitError(
            f"'{phone}' in '{_shortened(phones)}' is not a TIMIT phone that folds to {to}{nearest(phone, mapping)}; "
            "correct the transcript"
        ) from None


def _shortened(phones: Sequence[str]) -> str:
    text = " ".join(phones)
    return text if len(text) <= 60 else f"{text[:60]}..."
