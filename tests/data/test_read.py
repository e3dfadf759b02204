"""Odd and damaged files: each gives pixels or one line, never another exception, a wait or a foreign program."""

import io
import logging
import os
import random
import struct
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import moganet
from moganet.data import formats
from moganet.data.formats import fits_suffix, readable_suffixes, register_heif
from moganet.data.preprocess import decode
from moganet.data.read import SEVERAL_FRAMES, read
from moganet.errors import DataError

MUTATIONS = 400  # in the quick test; the slow one tries so many of each format
needs_heif = pytest.mark.skipif(not register_heif(), reason="pillow-heif is not installed")


def photo(width=48, height=40):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 5, y * 6, (x + y) * 2], -1).clip(0, 255).astype(np.uint8))


def saved(kind, image=None, **options):
    buffer = io.BytesIO()
    (image or photo()).save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# --- Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "deep"])
def test_every_orientation_is_undone(kind, orientation):
    image = photo() if kind != "deep" else Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30)
    options = {"exif": turned(orientation)} | ({"lossless": True} if kind == "WEBP" else {})
    file = saved("PNG" if kind == "deep" else kind, image, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    pixels = read(file)
    assert np.array_equal(pixels.pixels, decode(np.asarray(expected))) and pixels.size == expected.size
    with Image.open(io.BytesIO(file)) as opened:
        assert np.array_equal(decode(opened), pixels.pixels)


def with_gps(orientation, entry):
    first = struct.pack(">HHHIHxx", 2, 0x112, 3, 1, orientation) + struct.pack(">HHIII", 0x8825, 4, 1, 38, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + first + struct.pack(">H", 1) + entry + bytes(4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "entry",
    [
        struct.pack(">HHI4s", 0, 2, 4, b"220\0"),
        struct.pack(">HHI4s", 0, 5, 1, b"\xff\xff\xff\xff"),
        struct.pack(">HHI4s", 29, 7, 4, b"\0\0\0\0"),
        struct.pack(">HHI4s", 2, 12, 9999, b"\0\0\0\1"),
    ],
)
def test_metadata_that_pillow_can_not_write_back_turns_the_picture_all_the_same(entry, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    file = saved(kind, exif=with_gps(6, entry), **options)
    assert torch.equal(decode(file), torch.rot90(decode(saved(kind, **options)), -1, (1, 2)))


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\xff", b"Exif\0\0", b"MM"])
def test_a_broken_block_of_metadata_leaves_the_pixels(exif):
    assert torch.equal(decode(saved("PNG", exif=exif)), decode(saved("PNG")))


# --- What is no image, or none that is decoded here


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", b"\x89HDF\r\n\x1a\n" + bytes(99)]
)
@pytest.mark.parametrize("name", ["x.ps", "x.eps", "x.h5", "x.jpg"])
def test_no_foreign_program_and_no_stub_is_asked(data, name, tmp_path, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", None)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="not an image"):
        decode(tmp_path / name)
    assert not {".ps", ".eps", ".h5", ".hdf", ".grib", ".bufr", ".wmf", ".pdf", ".mpg"} & readable_suffixes()
    assert {".jpg", ".jpeg", ".jfif", ".png", ".tif", ".webp", ".avif", ".gif", ".bmp", ".mpo"} <= readable_suffixes()


def test_pipes_and_devices_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(DataError, match="pipe or a device"):
            decode(path)


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b.jpg", "\udcff.jpg", "", "no/such/x.jpg"])
def test_names_that_no_file_has_are_one_line(name):
    with pytest.raises(DataError):
        decode(name)


def test_a_truncated_image_of_pillow_is_an_error_of_that_image():
    whole = saved("JPEG", photo(300, 300))
    with Image.open(io.BytesIO(whole[: len(whole) // 2])) as image, pytest.raises(DataError, match="truncated"):
        decode(image)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0), (0, 0, 3), (3, 0, 4)])
def test_images_without_pixels_are_refused(shape):
    for image in (np.zeros(shape, np.uint8), torch.zeros((3, *shape[:2]), dtype=torch.uint8)):
        if 0 in image.shape:
            with pytest.raises(DataError, match="no pixels"):
                decode(image)


@pytest.mark.parametrize("image", [np.zeros((3, 60, 50), np.uint8), torch.zeros(60, 50, 3)])
def test_channels_at_the_wrong_end_are_refused_with_the_remedy(image):
    with pytest.raises(DataError, match=r"permute|transpose"):
        decode(image)


@pytest.mark.parametrize("name", ["1", "0", "image", "{x}", "%s"])
def test_the_name_is_in_every_message(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((3, 3), 7, np.float32)).save(name, "TIFF")
    with pytest.raises(DataError) as caught:
        decode(name)
    assert str(caught.value).startswith(f"{name}: ")
    for content in (b"", b"no image", saved("PNG")[:90]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            decode(name)
        assert str(caught.value).startswith(f"{name} ")


def test_masked_pixels_are_refused_and_open_files_stay_open():
    with pytest.raises(DataError, match="masked"):
        decode(np.ma.masked_array(np.zeros((4, 4), np.uint8), mask=np.eye(4)))
    file = io.BytesIO(saved("PNG"))
    assert torch.equal(decode(file), decode(file)) and not file.closed


# --- Several pictures, other modes


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "MPO"])
def test_of_several_pictures_the_first_is_read_and_that_is_said(kind):
    first, second = Image.new("RGB", (20, 16), "red"), Image.new("RGB", (20, 16), "blue")
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read(saved(kind, first, save_all=True, append_images=[second], **options))
    assert found.pixels[0].min() > 240 and found.pixels[2].max() < 15
    assert found.notes == (SEVERAL_FRAMES,)
    assert found.format == ("JPEG" if kind == "MPO" else kind)
    assert not read(saved(kind, first, **options)).notes


@pytest.mark.parametrize("mode", ["LAB", "HSV", "RGBX", "YCbCr", "RGBa", "La"])
def test_rare_modes_have_a_result(mode):
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (5, 4), v) for v in (255, 128, 128)])
    else:
        image = Image.new("LA" if mode == "La" else "RGBA" if mode == "RGBa" else "RGB", (5, 4), "white").convert(mode)
    assert decode(image).min() >= 250 and decode(image, 1).shape == (1, 4, 5)


# --- HEIC


@needs_heif
@pytest.mark.parametrize("name", ["x.HEIC", "x.jpg", "x"])
def test_heic_is_read_whatever_its_name(name, tmp_path):
    (tmp_path / name).write_bytes(saved("HEIF", quality=95))
    found = read(tmp_path / name)
    assert np.abs(found.pixels.astype(int) - decode(photo()).numpy()).mean() < 4
    assert found.format == "HEIF" and fits_suffix(found.format, ".heic") and not fits_suffix(found.format, ".jpg")


@needs_heif
@pytest.mark.parametrize(
    ("major", "compatible"), [(b"mif1", b"heic"), (b"heix", b"mif1"), (b"msf1", b"hevc"), (b"mif1", b"miaf")]
)
def test_heic_is_told_by_its_brands(major, compatible):
    assert formats.is_heif(b"\0\0\0\x18ftyp" + major + bytes(4) + b"mif1" + compatible)
    assert not formats.is_heif(b"\0\0\0\x18ftyp" + major + bytes(4) + b"mif1avif")


@needs_heif
def test_heic_without_its_reader_names_what_to_install(tmp_path, monkeypatch):
    file = saved("HEIF")
    monkeypatch.setattr(formats, "register_heif", lambda: False)
    (tmp_path / "x.jpg").write_bytes(file)
    for door in (file, tmp_path / "x.jpg", io.BytesIO(file)):
        with pytest.raises(DataError, match="HEIC: pip install pillow-heif"):
            decode(door)
    assert decode(saved("AVIF")).shape == (3, 40, 48)


@needs_heif
def test_predict_takes_heic_beside_other_files(tmp_path):
    for name, kind in (("a.heic", "HEIF"), ("b.jpg", "JPEG")):
        (tmp_path / name).write_bytes(saved(kind))
    model = moganet.load("moganet_nano.digits")
    found = moganet.predict(model, [str(tmp_path / "a.heic"), str(tmp_path / "b.jpg")])
    assert len(found["predictions"]) == 2 and not found["unreadable"]


# --- Damaged files


def deep():
    return Image.fromarray((np.arange(48 * 40).reshape(40, 48) * 30).astype(np.uint16))


def files():
    """Give a small file of each format that Pillow writes and reads."""
    exif = turned(6)
    exif[0x8825] = {2: (1.0, 2.0, 3.0), 1: "N"}
    plain = {
        kind: (kind, photo(), {}) for kind in ("PNG", "BMP", "PPM", "PCX", "SGI", "ICO", "TGA", "IM", "QOI", "DDS")
    }
    made = plain | {
        "JPEG": ("JPEG", photo(), {"exif": exif}),
        "CMYK": ("JPEG", photo().convert("CMYK"), {"progressive": True}),
        "palette": ("PNG", photo().quantize(16), {"transparency": 3}),
        "PNG16": ("PNG", deep(), {"exif": exif}),
        "GIF": ("GIF", photo().quantize(9), {"save_all": True, "append_images": [photo().rotate(90).quantize(9)]}),
        "TIFF": ("TIFF", photo(), {"exif": turned(6)}),
        "TIFF16": ("TIFF", deep(), {"compression": "tiff_lzw"}),
        "TIFFJ": ("TIFF", photo(), {"compression": "jpeg"}),
        "WEBP": ("WEBP", photo(), {"exif": exif}),
        "AVIF": ("AVIF", photo(), {"exif": exif}),
        "JPEG2000": ("JPEG2000", photo(), {}),
        "MPO": ("MPO", photo(), {"save_all": True, "append_images": [photo()], "exif": exif}),
        "SPIDER": ("SPIDER", photo().convert("F"), {}),
        "BLP": ("BLP", photo().quantize(9), {}),
        "MSP": ("MSP", photo().convert("1"), {}),
        "XBM": ("XBM", photo().convert("1"), {}),
        "ICNS": ("ICNS", photo().resize((128, 128)), {}),
    }
    if register_heif():
        made["HEIF"] = ("HEIF", photo(), {"exif": exif})
    return {name: saved(kind, image, **options) for name, (kind, image, options) in made.items()}


def damaged(data, draw):
    """Cut, change, insert or blank some bytes of a file."""
    data, kind = bytearray(data), draw.choice("tbbbihh0")
    at = draw.randrange(len(data))
    if kind == "t":
        return bytes(data[:at])
    if kind == "i":
        data[at:at] = draw.randbytes(draw.randrange(1, 9))
    elif kind == "0":
        data[at : at + 50] = draw.choice([b"\0", b"\xff"]) * len(data[at : at + 50])
    else:
        for _ in range(draw.choice([1, 2, 8])):
            place = draw.randrange(len(data) if kind == "b" else min(len(data), 400))
            data[place] = draw.choice([0, 255, 1, 127, 128, draw.randrange(256)])
    return bytes(data)


def attack(names_and_files, number, seed):
    draw = random.Random(seed)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", module=r"PIL\.")  # pytest takes away the reader's own filter
        for round_ in range(number):
            for name, data in names_and_files:
                broken, start = damaged(data, draw), time.monotonic()
                for door in (broken,) if round_ % 4 else (broken, io.BytesIO(broken)):
                    try:
                        assert decode(door, white_level=65535).shape[0] == 3
                    except DataError as error:
                        assert "\n" not in str(error) and str(error)
                assert time.monotonic() - start < 20, name
    assert not warned


def test_damaged_files_of_every_format_are_pixels_or_one_line(caplog):
    some = files()
    with caplog.at_level(logging.WARNING):
        attack(some.items(), MUTATIONS // len(some) + 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_many_damaged_files_are_pixels_or_one_line(part):
    attack(list(files().items())[part::6], MUTATIONS, part)
