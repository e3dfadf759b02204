"""Any image becomes the network's input in one defined way."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.data.preprocess import decode, match_channels, normalize, preprocess, resize_and_crop
from moganet.errors import DataError


def pattern(height=24, width=36):
    return np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8)


def test_path_image_and_array_of_one_picture_decode_equally(tmp_path):
    array = pattern()
    Image.fromarray(array).save(tmp_path / "x.png")
    expected = torch.from_numpy(array).permute(2, 0, 1)
    for image in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(array), array, array / 255.0, expected):
        assert torch.equal(decode(image), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_has_a_result(mode, channels):
    if mode in ("I;16", "F"):
        image = Image.fromarray(np.full((8, 9), 65535, np.uint16) if mode == "I;16" else np.ones((8, 9), np.float32))
    else:
        image = Image.new("RGB", (9, 8), "white").convert(mode if mode not in ("LA", "I") else "L")
        image = Image.new("I", (9, 8), 65535) if mode == "I" else image.convert(mode)
    decoded = decode(image, channels)
    assert decoded.shape == (channels, 8, 9) and decoded.dtype == torch.uint8
    assert decoded.min() == 255


def test_transparent_pixels_show_white_and_not_their_hidden_colour():
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert decode(image).min() == 255
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([200, 0, 0] * 256)
    palette.info["transparency"] = 0
    assert decode(palette).min() == 255


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.fromarray(pattern(10, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert decode(tmp_path / "x.jpg").shape == (3, 20, 10)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_bytes(b""), "not an image"),
        (lambda p: p.write_text("hello"), "not an image"),
        (lambda p: None, "No such file"),
        (lambda p: p.mkdir(), "directory"),
        (
            lambda p: (Image.fromarray(pattern(200, 200)).save(p), p.write_bytes(p.read_bytes()[:2000])),
            "can't be decoded",
        ),
    ],
    ids=["empty", "text", "missing", "a folder", "truncated"],
)
def test_what_can_not_be_read_is_said_with_its_name(make, said, tmp_path):
    make(tmp_path / "x.png")
    with pytest.raises(DataError, match=said) as caught:
        decode(tmp_path / "x.png")
    assert "x.png" in str(caught.value)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2, 2, 2)), np.zeros((4, 4, 5), np.uint8), np.full((4, 4), 3.0), np.zeros((4, 4), np.int64)]
)
def test_arrays_of_other_shapes_and_ranges_are_refused(array):
    with pytest.raises(DataError):
        decode(array)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["center", "squash"]),
    st.floats(0.3, 1),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_every_size_comes_out_at_the_described_one(height, width, h, w, mode, fraction, interpolation):
    settings = Preprocessing(size=(h, w), crop_mode=mode, crop_fraction=fraction, interpolation=interpolation)
    image = torch.from_numpy(pattern(height, width)).permute(2, 0, 1)
    out = resize_and_crop(image, settings)
    assert out.shape == (3, h, w) and out.dtype == torch.uint8


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_batch_and_its_images_alone_give_the_same_bits(mode):
    settings = Preprocessing(size=20, interpolation=mode)
    images = torch.from_numpy(np.stack([pattern(), pattern()[::-1]])).permute(0, 3, 1, 2)
    assert torch.equal(preprocess(images, settings), torch.stack([preprocess(i, settings) for i in images]))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_photographs_are_resized_as_pillow_and_timm_do(interpolation):
    timm_data = pytest.importorskip("timm.data")
    settings = Preprocessing(size=224, crop_fraction=0.875, interpolation=interpolation)
    reference = timm_data.create_transform(
        (3, 224, 224), interpolation=interpolation, crop_pct=0.875, mean=settings.mean, std=settings.std
    )
    for file in sorted(Path(real_data("flowers-mini") / "val").rglob("*.jpg"))[:10]:
        image = Image.open(file).convert("RGB")
        ours, theirs = preprocess(decode(image), settings), reference(image)
        levels = (ours - theirs).abs() * torch.tensor(settings.std).view(3, 1, 1) * 255
        assert levels.max() < 1e-4, file  # the same grey levels


def test_normalisation_is_mean_and_deviation_of_0_to_1():
    settings = Preprocessing(size=2, mean=(0.5, 0.25, 0), std=(0.5, 0.25, 1))
    white = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    assert torch.allclose(normalize(white, settings)[:, 0, 0], torch.tensor([1.0, 3.0, 1.0]))


def test_sides_of_20000_pixels_have_a_result_or_one_line(tmp_path):
    Image.new("L", (20000, 30)).save(tmp_path / "long.png")
    assert preprocess(decode(tmp_path / "long.png"), Preprocessing(size=8)).shape == (3, 8, 8)
    Image.new("1", (20000, 20000)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match="more pixels"):
        decode(tmp_path / "huge.png")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(3, 700), (700, 3), (5, 333), (1, 90), (90, 1), (40, 1000)])
def test_thin_images_give_the_crop_of_the_whole_resized_image(height, width, interpolation):
    settings = Preprocessing(size=(20, 24), crop_fraction=0.9, interpolation=interpolation)
    image = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (2, 3, height, width), dtype=np.uint8))
    full = [22, 26]
    target = [22, max(26, 22 * width // height)] if 22 * width >= 26 * height else [max(22, 26 * height // width), 26]
    assert target != full and max(target[0] / 20, target[1] / 24) > 16
    planes = (Image.fromarray(plane.numpy()) for plane in image.flatten(0, 1))
    resized = [np.asarray(F.resize(plane, target, InterpolationMode(interpolation))) for plane in planes]
    whole = torch.from_numpy(np.stack(resized)).view(2, 3, *target)
    found, expected = resize_and_crop(image, settings), F.center_crop(whole, [20, 24])
    assert (found.int() - expected.int()).abs().max() <= (0 if interpolation == "nearest" else 2)
    assert torch.equal(found[0], resize_and_crop(image[0], settings))


@pytest.mark.parametrize("size", [(60000, 1), (1, 60000), (1, 1), (20000, 30)])
def test_a_line_of_pixels_asks_for_little_memory(size):
    image = decode(Image.new("RGB", size, (200, 100, 0)))  # resized whole, 60000 x 1 would take 11 GB
    for channels in (1, 3):
        out = resize_and_crop(match_channels(image, channels), Preprocessing(channels=1, mean=0, std=1))
        assert out.shape == (channels, 224, 224) and out.float().std() < 100


def test_an_animated_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 5), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "x.gif")[:, 0, 0].tolist() == [255, 0, 0]
