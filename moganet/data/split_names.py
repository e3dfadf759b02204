"""Which split a name means: "Train", "training_set", "seg_test", "valid", "02-dev", "trainImages2017"."""

import re
import unicodedata
from typing import Literal

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
WORDS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainval", "训练", "訓練"),
    "val": ("val", "valid", "validate", "validation", "dev", "devel", "development", "验证", "驗證"),
    # "eval" and "holdout" may be either; as a test set they choose nothing, so that a wrong guess spoils no number
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout", "测试", "測試"),
}
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
_TAIL = re.compile(r"(sets?|data|samples?|images?|imgs?|pics?|photos?|pictures?|split|folder|dir|集)$")
_TWO_WORDS = re.compile(r"(hold|held)[\W_](out)")


def split_of(name: str) -> SplitName | None:
    """Give the split that a name's words mean, or None where none does or two disagree.

    A class may be called "train station": a caller that has a choice looks at what stands beside it.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    words = re.split(r"[\W\d_]+", _TWO_WORDS.sub(r"\1\2", spaced.casefold()))
    meant = {_SPLIT_OF.get(word) or _SPLIT_OF.get(_TAIL.sub("", word)) for word in words} - {None}
    return meant.pop() if len(meant) == 1 else None
