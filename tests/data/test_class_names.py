"""Names of classes that look alike, and those that only differ a little."""

import unicodedata

import pytest

from moganet.data.class_names import find_lookalikes

ALIKE = [
    ("daisy", "Daisy "),
    ("red fox", "red_fox"),
    ("red-fox", "RedFox"),
    ("café", unicodedata.normalize("NFD", "CAFÉ")),
    ("ａ", "a"),
    ("a\u200b", "a"),
    ("01", "1"),
    ("class_01", "class 1"),
    ("class-1", "class_001"),
    ("1.", "1"),
    ("oak", "oak (1)"),
    ("oak", "Oak - Copy"),
    ("oak", "oak copy 2"),
    ("oak", "Copy of oak"),
]
APART = [
    ("-1", "1"),
    ("1-2", "12"),
    ("4-6", "46"),
    ("1.0", "10"),
    ("0.5", "05"),
    ("10", "100"),
    ("0", "10"),
    ("+", "-"),
    ("copy", "scan"),
]


@pytest.mark.parametrize("names", ALIKE)
def test_names_of_one_meaning_look_alike(names):
    (found,) = find_lookalikes(names, "here")
    assert all(ascii(name) in found.detail for name in names)


@pytest.mark.parametrize("names", APART)
def test_other_numbers_and_ranges_do_not(names):
    assert not find_lookalikes(names, "here")
