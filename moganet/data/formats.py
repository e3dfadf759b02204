"""Which file formats are read: those that Pillow decodes by itself, and HEIC where pillow-heif is installed."""

import importlib.util
from functools import cache

from PIL import Image

# What Pillow can't decode by itself, or finds numbers in instead of a picture: outlines for Ghostscript or Windows,
# films, measurements, and names without a decoder.
NEVER_READ = frozenset({"EPS", "WMF", "MPEG", "PDF", "BUFR", "GRIB", "HDF5", "FITS", "IPTC"})
FAMILIES = {"MPO": "JPEG", "DIB": "BMP", "CUR": "ICO", "PFM": "PPM"}  # formats that share their endings
HEIF_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
ZIP_SUFFIXES = (".zip", ".cbz")
TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".mts"),
    *(".m2ts", ".ts", ".vob", ".mjpeg", ".mjpg", ".y4m", ".h264", ".hevc", ".asf", ".mxf"),
)
HOLDER_SUFFIXES = (*ZIP_SUFFIXES, *TAR_SUFFIXES, *VIDEO_SUFFIXES)  # of files within which images may lie
# Of a camera's raw file Pillow reads the small preview that comes first, as if that were the photograph.
RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw", ".orf"),
    *(".pef", ".raf", ".raw", ".rw2", ".srw", ".x3f"),
}
SUBFILE_TYPE, REDUCED = 254, 1  # TIFF's tag, and its bit for a small version of another picture in the file
# What lies where an image should be, by how it begins.
NO_IMAGES = {
    b"version https://git-lfs": "is a pointer of Git LFS and holds no image; git lfs pull fetches it",
    b"<!doctype html": "is a web page; download the image again",
    b"<html": "is a web page; download the image again",
    b"<svg": "is SVG, which is drawn and not read; convert it to PNG",
    b"<?xml": "is XML and no image; convert SVG to PNG",
}
SIGNS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}  # by which their decoders alone are asked
HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())


def is_heif(head: bytes) -> bool:
    """Tell a HEIC from its sibling AVIF by the brands of its first box, whatever its name is."""
    if head[4:8] != b"ftyp":
        return False
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(len(head), int.from_bytes(head[:4])), 4))}
    return bool(brands & HEIF_BRANDS) and not brands & {b"avif", b"avis"}


def why_no_image(head: bytes) -> str:
    """Say of a file that no decoder knows what it is, by its first bytes."""
    if not head:
        return "is empty, and so not an image"
    if not head.strip(b"\0"):
        return "begins with nothing but zeros, as files do whose copy or download broke off; fetch it again"
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    found = next((text for sign, text in NO_IMAGES.items() if begin.startswith(sign)), None)
    return found or "is not an image that Pillow can read"


@cache
def register_heif() -> bool:
    """Let Pillow read HEIC by pillow-heif, where it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def names_for(head: bytes) -> list[str]:
    """Give Pillow's names of the formats that a file may have by its first bytes: most files are of two formats.

    For these Pillow's other decoders are not imported, which takes longer than most images.
    """
    for sign, name in SIGNS.items():
        if head.startswith(sign):
            Image.preinit()
            return [name]
    return names()


def names() -> list[str]:
    """Give Pillow's names of the formats that are read."""
    if not {"TGA", "SGI"} <= Image.OPEN.keys():  # Image.init, which imports all plugins, has not been called
        Image.init()
    return [name for name in Image.ID if name not in NEVER_READ]


@cache
def readable_suffixes() -> frozenset[str]:
    """Give the file name endings that this reader can read, in lower case."""
    known = set(names())
    suffixes = frozenset(suffix for suffix, kind in Image.EXTENSION.items() if kind in known) | {".mpo"}
    return suffixes | HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else suffixes - HEIF_SUFFIXES


def fits_suffix(kind: str | None, suffix: str) -> bool:
    """Tell whether a file of this format may have this ending."""
    named = "HEIF" if suffix.lower() in HEIF_SUFFIXES else Image.registered_extensions().get(suffix.lower())
    return FAMILIES.get(named or "", named) == FAMILIES.get(kind or "", kind)
