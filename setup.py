"""The one thing that pyproject.toml can't say: the long description, which stands where the repository does not."""

import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"^\[?!\[[^\]]*\]\((?!https?:)\S*?\)(\]\(\S*?\))?\n+", re.MULTILINE)
LINK_ALONE = re.compile(r"^\[[^\]]+\]\((?!https?:)\S*?\)\n+", re.MULTILINE)  # to this text in another language
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)\S*?\)")


def standing_alone(text: str) -> str:
    """Give Markdown without its pictures from the repository, and with the words alone of links into it."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)  # code, each second one, stays as it is
    parts[::2] = [LINK.sub(r"\1", LINK_ALONE.sub("", PICTURE.sub("", part))) for part in parts[::2]]
    return "".join(parts)


readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
setup(long_description=standing_alone(readme), long_description_content_type="text/markdown")
