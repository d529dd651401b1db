"""TIMIT's phone foldings against the published table."""

import pytest

from speechkit.common.errors import SpeechkitError, UsageError
from speechkit.text.phones import PHONES_39, PHONES_48, PHONES_61, fold

# Lee and Hon's 48 phones and 39 scoring classes, one class per line, written out from the paper's table.
CLASSES_39 = """
aa ao|ae|ah ax ax-h|aw|ay|b|ch|d|dh|dx|eh|er axr|ey|f|g|hh hv|ih ix|iy|jh|k|l el|m em|n en nx|ng eng|ow|oy|p|r|s|sh zh
sil h# pau bcl dcl gcl pcl tcl kcl epi|t|th|uh|uw ux|v|w|y|z
"""


def test_sets_have_their_names_sizes():
    assert (len(PHONES_61), len(PHONES_48), len(PHONES_39)) == (61, 48, 39)
    assert set(PHONES_39) < set(PHONES_48)


def test_folding_to_39_gives_the_classes_of_the_paper():
    classes = [line.split() for line in CLASSES_39.replace("\n", "|").split("|") if line]
    expected = {phone: members[0] for members in classes for phone in members}
    assert {phone: fold([phone], 39)[0] for phone in PHONES_61 if phone != "q"} == {
        phone: name for phone, name in expected.items() if phone != "sil"
    }


def folded(text, to):
    return " ".join(fold(text.split(), to))


def test_folding_keeps_what_48_phones_distinguish():
    fine = "h# ax-h axr ux em nx eng hv bcl dcl gcl pcl tcl kcl pau epi"
    assert folded(fine, 48) == "sil ax er uw m n ng hh vcl vcl vcl cl cl cl sil epi"
    kept = "ix ax ao aa zh sh el l en n epi cl vcl sil"
    assert folded(kept, 48) == kept


def test_glottal_stop_is_deleted_and_repeats_stay():
    assert folded("h# q ih q pcl p q", 39) == "sil ih sil p"
    assert folded("q ih", 61) == "q ih"
    assert folded("pcl h#", 39) == "sil sil"


@pytest.mark.parametrize("target", [48, 39])
def test_folding_in_two_steps_is_folding_in_one(target):
    phones = list(PHONES_61)
    assert fold(fold(phones, 48), target) == fold(phones, target)
    assert fold(fold(phones, target), target) == fold(phones, target)


def test_what_is_not_a_phone_is_named():
    with pytest.raises(SpeechkitError, match="'axx' in 's axx'.*did you mean 'ax"):
        fold(["s", "axx"], 48)
    with pytest.raises(UsageError, match="50 phones"):
        fold(["s"], 50)
