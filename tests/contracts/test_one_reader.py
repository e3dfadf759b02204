"""Whatever the door, the same picture gives the same pixels; whatever a decoder raises is that image's error."""

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import MINI
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFile, TiffImagePlugin

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.data import open_data
from moganet.data.preprocess import decode, match_channels, preprocess
from moganet.data.read import read
from moganet.data.source import FileSplit
from moganet.data.survey import survey, thumbnails
from moganet.errors import DataError
from moganet.inference.interaction_images import ImageChoice, mean_colour
from moganet.inference.runtimes import open_predictor
from moganet.models.description import ModelDescription
from moganet.notices import listening

SIDE = 12


def drawn(channels=3, kind=np.uint8, height=SIDE, width=SIDE + 5):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.RandomState(channels).randint(0, np.iinfo(kind).max + 1, shape).astype(kind)


def palette(transparency):
    image = Image.fromarray(drawn()).quantize(16)
    image.info["transparency"] = transparency
    return image


def with_key(image, key):
    image.info["transparency"] = key
    return image


PICTURES = {
    "grey": Image.fromarray(drawn(1)),
    "colour": Image.fromarray(drawn(3)),
    "colour and opacity": Image.fromarray(drawn(4)),
    "grey and opacity": Image.fromarray(drawn(2)),
    "1 bit": Image.fromarray(drawn(1)).convert("1"),
    "16-bit grey": Image.fromarray(drawn(1, np.uint16)),
    "32-bit grey": Image.fromarray(drawn(1, np.uint16).astype(np.int32)),
    "float grey": Image.fromarray(drawn(1).astype(np.float32) / 255),
    "palette, a colour transparent": palette(3),
    "palette with opacities": palette(bytes(range(0, 256, 16))),
    "grey, a value transparent": with_key(Image.fromarray(drawn(1) // 64), 2),
    "colour, a colour transparent": with_key(Image.fromarray(drawn(3)), tuple(int(v) for v in drawn(3)[3, 3])),
    "16-bit grey, a value transparent": with_key(Image.fromarray(drawn(1, np.uint16) // 8192), 3),
    "CMYK": Image.fromarray(drawn(3)).convert("CMYK"),
}
NOT_IN_ARRAYS = "palette", "transparent", "CMYK"  # whose arrays lack their palette, their key, their ink


def doors(image, folder):
    """Give one picture by every door."""
    kind = "TIFF" if image.mode in ("F", "I", "CMYK") else "PNG"
    path = folder / "x.any"
    image.save(path, kind, **{k: v for k, v in image.info.items() if k == "transparency"})
    yield "path", path
    yield "str", str(path)
    yield "bytes", path.read_bytes()
    yield "memory", io.BytesIO(path.read_bytes())
    with open(path, "rb") as file:
        yield "open file", file
    with Image.open(path) as opened:
        yield "PIL, not loaded", opened
    yield "PIL, in memory", image
    yield "PIL, copied", image.copy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PICTURES)
def test_every_door_gives_the_same_pixels(name, channels, tmp_path):
    image = PICTURES[name]
    found = {door: decode(passed, channels) for door, passed in doors(image, tmp_path)}
    if not any(word in name for word in NOT_IN_ARRAYS):
        array = np.array(image)
        planes = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
        found |= {"array": decode(array, channels), "tensor": decode(torch.from_numpy(planes), channels)}
    expected = found["path"]
    assert expected.shape == (channels, SIDE, SIDE + 5) and expected.unique().numel() > 1
    assert not [door for door, pixels in found.items() if not torch.equal(pixels, expected)]
    split = FileSplit([tmp_path / "x.any"], torch.tensor([0]), channels)
    assert torch.equal(split[0].image, expected)
    # What a network of one channel sees of a colour image does not hang on which room made it grey.
    assert torch.equal(match_channels(decode(image, 3), channels), expected)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([1, 2, 3, 4]).flatmap(
        lambda c: arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(c)))
    ),
    st.sampled_from([1, 3]),
)
def test_arrays_of_every_form_agree(array, channels):
    expected = decode(Image.fromarray(array[..., 0] if array.shape[2] == 1 else array), channels)
    backwards = np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    frozen = array.copy()
    frozen.flags.writeable = False
    planes = torch.from_numpy(array.transpose(2, 0, 1).copy())
    forms = [
        array,
        np.asfortranarray(array),
        np.repeat(array, 2, axis=1)[:, ::2],
        backwards,
        frozen,
        array / 255,
        (array / 255).astype(np.float32),
        (array / 255).astype(np.float16),
        (array / 255).astype(">f4"),
        planes,
        planes.float() / 255,
        planes.double() / 255,
        planes.float().div(255).requires_grad_(),
    ]
    if array.shape[2] == 1:
        forms += [array[..., 0], array.astype(np.uint16) * 257, array.astype(">u2") * 257]
    else:
        forms += [array.astype(np.uint16) * 256 + 9]
    assert all(torch.equal(decode(form, channels), expected) for form in forms)


def test_grey_is_pillows_own():
    colours = np.random.RandomState(0).randint(0, 256, (300, 300, 3)).astype(np.uint8)
    assert np.array_equal(decode(colours, 1)[0].numpy(), np.asarray(Image.fromarray(colours).convert("L")))


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.uint8, (5, 4, 4)))
def test_opacity_lays_a_picture_over_white(array):
    share = array[..., 3:] / 255
    expected = array[..., :3] * share + 255 * (1 - share)
    found = decode(array).permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 0.5 + 1e-6


@pytest.fixture(scope="module")
def predictor():
    network = timm.create_model("moganet_xtiny", **MINI)
    description = ModelDescription(
        architecture=Architecture(), preprocessing=Preprocessing(size=16), class_names=tuple("abcdefghij")
    )
    return open_predictor(network, description, "eager")


def test_the_predictor_takes_every_door(predictor, tmp_path):
    image = PICTURES["colour and opacity"]
    expected = preprocess(decode(image), predictor.config.preprocessing)
    for door, passed in doors(image, tmp_path):
        assert torch.equal(predictor.preprocess(passed)[0], expected), door
    array = np.array(image)
    assert torch.equal(predictor.preprocess(np.stack([array, array]))[1], expected)


def test_the_bad_image_of_a_list_is_named(predictor):
    good = drawn()
    with pytest.raises(DataError, match="image 2 of 3"):
        predictor([good, good.astype(np.int64), good])
    with pytest.raises(DataError, match="image 3 of 3"):
        predictor([good, good, b"no image"])
    for nothing in (None, 3):
        with pytest.raises(DataError, match="no image"):
            predictor(nothing)
    assert predictor([]) == []


@pytest.mark.parametrize("name", ["16-bit grey", "colour and opacity", "palette with opacities", "float grey"])
def test_thumbnails_and_hashes_see_what_the_network_sees(name, tmp_path):
    image = PICTURES[name]
    path = tmp_path / ("x.tif" if image.mode == "F" else "x.png")
    image.save(path)
    split = FileSplit([path], torch.tensor([0]))
    (shown,) = thumbnails(split, [0], SIDE)
    middle = decode(path)[:, :, 2:-3].permute(1, 2, 0).numpy()
    assert np.array_equal(shown, middle)
    assert survey(split, 9).sizes.tolist() == [[SIDE + 5, SIDE]]


def test_large_jpegs_are_the_same_pictures_when_they_are_read_small(tmp_path):
    y, x = np.mgrid[:900, :1300]
    smooth = np.stack([127 + 120 * np.sin(x / 90), 127 + 120 * np.cos(y / 70), (x + y) / 10], -1).clip(0, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "x.jpg", exif=exif, quality=95)
    whole, small = read(tmp_path / "x.jpg"), read(tmp_path / "x.jpg", at_least=128)
    assert whole.size == small.size == (900, 1300) and small.pixels.shape[1] == 325
    tensors = [torch.from_numpy(picture.pixels).float() for picture in (whole, small)]
    averaged = torch.nn.functional.interpolate(tensors[0][None], tensors[1].shape[1:], mode="area")[0]
    assert (averaged - tensors[1]).abs().mean() < 1.5


def test_nothing_else_in_the_package_opens_images():
    """Only the reader does; a model file's own fixtures, which are opened as PNG alone, go through it after.

    A teacher is given the student's batch, which is no image file, in its own channels. A mask's numbers are no pixels,
    and a page's small copies are of pictures that were drawn here.
    """
    package = Path(moganet.__file__).parent
    second = re.compile(r"Image\.open\(|ImageOps|\.convert\(|rgb_to_grayscale|decode_image|read_image\(|imread\(")
    allowed = {
        "data/read.py",
        "data/masks_read.py",
        "report/explained.py",
        "models/fixtures.py",
        "report/heat.py",
        "training/start.py",
        "data/shards_make.py",  # asks for the format alone
    }
    found = {str(f.relative_to(package)) for f in package.rglob("*.py") if second.search(f.read_text())}
    assert found <= allowed


ERRORS = [
    RuntimeError("Decoding of color planes failed"),
    TypeError("The fill character must be a unicode character"),
    struct.error("unpack requires a buffer"),
    NotImplementedError("Unimplemented pixel format"),
    AttributeError("'NoneType' object has no attribute 'seek'"),
    KeyError(7),
    IndexError(),
    AssertionError(),
    ZeroDivisionError("integer division"),
    OverflowError("too large"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    SystemError("error return without exception set"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    Image.DecompressionBombError("a bomb"),
    Exception("several\nlines\nof a library's own"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_is_that_images_error(error, tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    PICTURES["colour"].save(path)

    def fail(*_):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with Image.open(path) as opened:
        for passed in (path, path.read_bytes(), opened):
            with pytest.raises(DataError) as caught:
                decode(passed)
            assert "\n" not in str(caught.value)
    split = FileSplit([path], torch.tensor([0]))
    assert survey(split, 9).unreadable == 1
    assert len(thumbnails(split, [0], 8)) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_that_images_error_by_every_door(kind, tmp_path, predictor):
    whole = io.BytesIO()
    Image.fromarray(drawn(height=90, width=90)).save(whole, kind)
    path = tmp_path / "x.any"
    path.write_bytes(whole.getvalue()[: -whole.tell() // 3])
    with open(path, "rb") as file, Image.open(path) if kind != "WEBP" else open(path, "rb") as opened:
        for passed in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), file, opened):
            for read_it in (decode, predictor, predictor.preprocess):
                with pytest.raises(DataError):
                    read_it(passed)


def test_the_rest_of_a_folder_goes_on(tmp_path, monkeypatch, predictor):
    for name in ("a", "b"):
        for number in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            PICTURES["colour"].save(tmp_path / name / f"{number}.png")
    whole = ImageFile.ImageFile.load

    def fail_for_one(image):
        if str(getattr(image.fp, "name", "")).endswith("a/2.png"):
            raise RuntimeError("Decoding of color planes failed")
        return whole(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail_for_one)
    found = moganet.predict(predictor, [str(tmp_path)])
    assert len(found["predictions"]) == 7 and len(found["unreadable"]) == 1
    assert moganet.doctor(str(tmp_path))["counts"]["unreadable"] == 1
    assert survey(open_data(str(tmp_path)).split("train"), 9).unreadable == 1


def test_an_image_that_can_not_be_resized_is_left_out_by_name(tmp_path, monkeypatch, predictor):
    from PIL import Image as pillow

    for number in range(3):
        Image.new("RGB", (30 + number, 20)).save(tmp_path / f"{number}.png")
    resize = pillow.Image.resize

    def fail_for_one(image, *args, **kwargs):
        if image.width == 31:
            raise MemoryError
        return resize(image, *args, **kwargs)

    monkeypatch.setattr(pillow.Image, "resize", fail_for_one)
    found = moganet.predict(predictor, [str(tmp_path)])
    assert [Path(one["file"]).name for one in found["unreadable"]] == ["1.png"] and len(found["predictions"]) == 2


def previews(folder):
    """Give files of which the first picture is a small one beside another: by TIFF's tag, and by their names."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    small = Image.fromarray(drawn())
    small.save(folder / "tagged.tif", "TIFF", tiffinfo=tags)
    for ending in ("dng", "NEF", "cr2"):
        small.save(folder / f"photo.{ending}", "TIFF")
    return sorted(folder.iterdir())


def test_the_preview_in_a_cameras_raw_file_is_not_the_photograph(tmp_path):
    for path in previews(tmp_path):
        with Image.open(path) as opened:
            for door in (path, opened, *([path.read_bytes()] if path.suffix == ".tif" else [])):
                with pytest.raises(DataError, match="raw file"):
                    decode(door)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is empty"),
        (bytes(3000), "zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"\r\n<!DOCTYPE html><html>404</html>", "web page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg/>', "PNG"),
        (b"{}", "not an image"),
    ],
)
def test_what_lies_where_an_image_should_be_is_said(content, said, tmp_path):
    (tmp_path / "x.jpg").write_bytes(content)
    for door in (tmp_path / "x.jpg", content):
        with pytest.raises(DataError, match=said):
            decode(door)


def test_what_is_no_path_is_said_and_not_shown_whole(predictor):
    for address in ("https://127.0.0.1/x.jpg", "s3://bucket/x.jpg", "data:image/png;base64," + "A" * 9000):
        with pytest.raises(DataError, match="address") as caught:
            decode(address)
        assert len(str(caught.value)) < 400
    with pytest.raises(DataError) as caught:
        decode("iVBORw0KGgo" * 900)
    assert len(str(caught.value)) < 400
    with pytest.raises(DataError, match="bytes, path"):
        predictor({"bytes": b"", "path": "x.jpg"})


def test_floats_of_another_range_are_told_how_to_become_images():
    for array, said in ((drawn() / 1.0, "by 255"), (drawn() / 128 - 1, "normalised")):
        with pytest.raises(DataError, match=said):
            decode(array)


def test_a_bad_image_is_named_by_its_place_in_all_that_was_given(predictor):
    with pytest.raises(DataError, match="image 5 of 6"):
        predictor([drawn()] * 4 + [b"", drawn()], batch_size=2)


def test_predict_takes_one_path_as_explain_does(predictor, tmp_path):
    PICTURES["colour"].save(tmp_path / "x.png")
    for one in (tmp_path / "x.png", str(tmp_path / "x.png")):
        found = moganet.predict(predictor, one)
        assert len(found["predictions"]) == 1 and not found["unreadable"]


def test_what_interactions_leave_out_is_in_their_notes(tmp_path):
    for number in range(4):
        PICTURES["colour"].save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"<html>")
    split = FileSplit(sorted(tmp_path.iterdir()), torch.zeros(4, dtype=torch.long))
    with listening() as heard:
        assert len(list(ImageChoice(split, [], 0, only_correct=False).first(9))) == 3
        mean_colour(split, Preprocessing(size=8))
    assert len(heard) == 2 and "1.png" in heard[0] and "3 of 4" in heard[1]
