"""Images of every size are resized as Pillow, torchvision's and timm's transforms of files resize them, bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.data import preprocess, resample
from moganet.errors import DataError

MODES = ["nearest", "bilinear", "bicubic"]
sides = st.tuples(st.integers(2, 200), st.integers(2, 200))


def drawn(*shape, contrast=False):
    values = np.random.RandomState(sum(shape)).randint(0, 256, shape, np.uint8)
    return np.where(values > 127, np.uint8(255), np.uint8(0)) if contrast else values


def described(channels=3, **values):
    return Preprocessing(channels=channels, mean=(0.485,) * channels, std=(0.229,) * channels, **values)


def by_torchvision(image, description):
    """Resize and crop channel by channel, as PIL images."""
    full = resample.target_size(image.shape[1:], description)
    mode, crop = InterpolationMode(description.interpolation), list(description.size)
    planes = (F.center_crop(F.resize(Image.fromarray(plane), full, mode), crop) for plane in image)
    return np.stack([np.asarray(plane) for plane in planes])


@settings(deadline=None, max_examples=150)
@example((200, 200), (200, 77), 5, "bilinear", "squash", 0.5, False)  # one axis alone
@given(
    sides,
    sides,
    st.sampled_from([1, 2, 3, 4, 5, 8]),
    st.sampled_from(MODES),
    st.sampled_from(["center", "squash"]),
    st.floats(0.3, 1),
    st.booleans(),
)
def test_the_bits_are_pillows(have, size, channels, mode, crop_mode, fraction, contrast):
    description = described(channels, size=size, interpolation=mode, crop_mode=crop_mode, crop_fraction=fraction)
    image = drawn(channels, *have, contrast=contrast)
    found = resample.resize_and_crop(image, description)
    assert found.shape == (channels, *size) and found.dtype == np.uint8
    assert torch.equal(preprocess.resize_and_crop(torch.from_numpy(image), description), torch.from_numpy(found))
    if not resample.is_thin(resample.target_size(have, description), size):  # of which only what is seen is resized
        assert np.array_equal(found, by_torchvision(image, description))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("have", [(1100, 1500), (30, 40), (1, 1), (1, 60), (60, 1)])
def test_far_smaller_and_far_larger_images_too(have, mode):
    image, description = drawn(1, *have), described(1, size=(48, 64), interpolation=mode)
    full = resample.target_size(have, description)
    difference = resample.resize_and_crop(image, description).astype(int) - by_torchvision(image, description)
    assert np.abs(difference).max() <= (2 if resample.is_thin(full, (48, 64)) else 0)


@pytest.mark.parametrize(("mode", "most"), [("nearest", 0), ("bilinear", 1), ("bicubic", 2)])
def test_the_way_of_a_gpu_follows_within_two_grey_levels(mode, most):
    image = torch.from_numpy(drawn(3, 90, 130))
    theirs = F.resize(image, [60, 87], preprocess.MODES[mode], antialias=True)
    ours = by_torchvision(image.numpy(), described(size=(60, 87), interpolation=mode, crop_mode="squash"))
    assert np.abs(theirs.numpy().astype(int) - ours).max() <= most


def test_the_networks_input_of_a_batch_in_any_order_of_memory_is_the_same():
    images, description = drawn(2, 50, 70, 3).transpose(0, 3, 1, 2), Preprocessing(size=24)
    expected = preprocess.preprocess(torch.from_numpy(images), description)
    found = resample.preprocess(images, description)
    assert found.dtype == np.float32 and torch.equal(torch.from_numpy(found), expected)


def test_what_can_not_be_resized_is_said(monkeypatch):
    def fail(*_):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(resample.Image, "fromarray", fail)
    with pytest.raises(DataError, match="70 x 50 pixels can't be brought to 20 x 24: Unable"):
        resample.resize_and_crop(drawn(3, 50, 70), Preprocessing(size=(24, 20)))
