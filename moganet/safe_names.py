"""Names of files and folders made of names that anybody may have given: of classes, of images within archives."""

import re
from collections.abc import Iterable
from pathlib import PurePath

from moganet.notices import UNSEEN

LONGEST = 120  # bytes; file systems take 255, and a number or an ending may follow
FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)(\..*)?$", re.IGNORECASE)  # of Windows


def safe_name(name: str) -> str:
    """Give a name that is one visible file's or folder's on any system, as near to another as that allows."""
    plain = FORBIDDEN.sub("_", UNSEEN.sub("_", name)).rstrip(" .").lstrip(" ")
    plain = re.sub(r"^\.+", "_", plain)
    plain = f"_{plain}" if DEVICES.match(plain) or not plain else plain
    encoded = plain.encode()
    if len(encoded) <= LONGEST:
        return plain
    begin, end = encoded[: LONGEST // 2].decode(errors="ignore"), encoded[-LONGEST // 2 :].decode(errors="ignore")
    return f"{begin}_{end}"


class FreeNames:
    """Safe names, each given once, whatever the letters' case: what is asked for twice gets a number.

    taken: names that are given to nobody.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken, self.last = {name.casefold() for name in taken}, dict[str, int]()

    def free(self, name: str) -> str:
        """Give a name, or one with a number before its ending."""
        safe = safe_name(name)
        path, key, number = PurePath(safe), safe.casefold(), 1
        found = safe
        while found.casefold() in self.taken:
            number = self.last.get(key, 1) + 1
            self.last[key] = number
            found = f"{path.stem}-{number}{path.suffix}"
        self.taken.add(found.casefold())
        return found
