"""What may be asked of a set of boxes, after the question mark: `coco:DIR?outside=clip&missing=skip`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from moganet.data.query import read_words

# What may be wrong, how it may be answered (the first is the default), and what else than leaving it out helps.
FAULTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "missing": (("refuse", "skip"), "add the image"),
    "size": (("refuse", "skip", "scale", "keep"), "mend the size"),
    "turned": (("refuse", "skip", "keep"), "turn the image's pixels as they are shown"),
    "numbers": (("refuse", "drop"), "mend the numbers"),
    "area": (("refuse", "drop"), "mend the box"),
    "outside": (("refuse", "drop", "clip"), "mend the box"),
    "class": (("refuse", "drop"), "name the class"),
    "outline": (("refuse", "drop", "box"), "mend the outline"),
    "without": (("refuse", "drop", "box"), "add outlines, or take boxes alone (masks=none)"),
    "ids": (("refuse", "drop"), "number each but once"),
    "names": (("refuse", "drop"), "name each image but once"),
    "orphan": (("refuse", "drop"), "add its image"),
    "file": (("refuse", "skip"), "mend the file"),
}
WORDS = {
    "skip": "leave such images out",
    "drop": "leave such objects out",
    "clip": "cut such boxes at the image's edge",
    "scale": "stretch boxes to the image's own size",
    "keep": "take the numbers for pixels of the image as it is",
    "box": "take the box for the outline",
}
CHOICES = {
    "masks": ("auto", "none"),
    "difficult": ("ignore", "keep", "drop"),
    "base": ("1", "0"),
    "form": ("auto", "xyxy", "xywh", "cxcywh"),
    "units": ("auto", "pixels", "shares"),
    "broken": ("refuse", "drop"),
}
TEXTS = {  # by source, beside what all of them know
    "coco": ("json", "images"),
    "yolo": ("names",),
    "voc": ("names",),
    "table": ("path", "label", "split", "group", "boxes"),
}
OF_SOURCE = {"coco": ("masks",), "yolo": ("masks",), "voc": ("difficult", "base"), "table": ("form", "units")}


@dataclass(frozen=True)
class Asked:
    """What was asked: how each fault is answered, and the rest by its word."""

    answers: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)

    def answer(self, fault: str) -> str:
        """Tell how a kind of fault is answered: "refuse" where nothing was said."""
        choices = FAULTS[fault][0]
        if fault in self.answers:
            return self.answers[fault]
        if self.said.get("broken") == "drop":
            return "clip" if "clip" in choices else choices[1]
        return choices[0]

    def word(self, key: str) -> str:
        """Give what was said by a word that is no fault, else its usual answer, else nothing."""
        return self.said.get(key, CHOICES[key][0] if key in CHOICES else "")

    def remedy(self, fault: str) -> str:
        """Say what helps against a kind of fault."""
        choices, mend = FAULTS[fault]
        others = [f"{WORDS[choice]} (?{fault}={choice})" for choice in choices[1:]]
        return f"{mend}, or {' or '.join(others)}"


def read_query(source: str, query: str) -> Asked:
    """Read `outside=clip&missing=skip`. Raises DataError for what is unknown or said twice."""
    choices = {name: answers for name, (answers, _) in FAULTS.items()}
    choices |= {name: CHOICES[name] for name in (*OF_SOURCE[source], "broken")}
    given = read_words(query, f"a set of {source}'s boxes", TEXTS[source], choices)
    answers = {key: value for key, value in given.items() if key in FAULTS}
    return Asked(answers, {key: value for key, value in given.items() if key not in FAULTS})
