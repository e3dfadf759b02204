"""Which split a name means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moganet.data.split_names import WORDS, split_of

WORD = st.sampled_from([(word, split) for split, words in WORDS.items() for word in words])
NEUTRAL = st.sampled_from(["", "seg", "images", "set", "2017", "01", "my", "split"])
SEPARATOR = st.sampled_from(["_", "-", " ", ".", "__", " - "])
CASE = st.sampled_from([str.lower, str.upper, str.title])


@given(WORD, NEUTRAL, NEUTRAL, SEPARATOR, CASE)
def test_a_known_word_means_its_split_whatever_stands_around_it(word, before, after, separator, case):
    name, split = word
    assert split_of(case(separator.join((before, name, after)))) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("trainset", "train"),
        ("TrainImages", "train"),
        ("train2017", "train"),
        ("testSet", "test"),
        ("valdata", "val"),
        ("hold-out", "test"),
        ("Held Out", "test"),
        ("训练集", "train"),
        ("ｔｒａｉｎ", "train"),
        ("  Validation ", "val"),
    ],
)
def test_glued_and_doubled_words(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "name", ["", "0", "2017", "cat", "valley", "trainers", "attest", "contest", "train_test", "devil"]
)
def test_other_words_mean_none(name):
    assert split_of(name) is None
