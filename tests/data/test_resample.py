"""Resizing without torch gives the bits that torch gives."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moganet.config import Preprocessing
from moganet.data import preprocess, resample
from moganet.errors import DataError

# Without these torchvision resizes by "bilinear" in floats.
NATIVE = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
MODES = ["nearest", "bilinear", "bicubic"]


def drawn(*shape, contrast=False):
    values = np.random.RandomState(sum(shape)).randint(0, 256, shape, np.uint8)
    return np.where(values > 127, np.uint8(255), np.uint8(0)) if contrast else values


def described(channels=3, **values):
    return Preprocessing(channels=channels, mean=(0.485,) * channels, std=(0.229,) * channels, **values)


def both(image, description):
    """Give an image's pixels as torch resizes them, and as numpy does."""
    given = torch.from_numpy(np.ascontiguousarray(image))
    return preprocess.resize_and_crop(given, description).numpy(), resample.resize_and_crop(image, description)


sides = st.tuples(st.integers(2, 200), st.integers(2, 200))


# More than 4 channels that are a single pixel wide torch gets wrong, and some of 3 channels it refuses.
@settings(deadline=None, max_examples=150)
@example((199, 3), (2, 120), 1, "bicubic", "center", 0.9, True)  # so thin that Pillow resizes what is seen
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
def test_the_bits_are_torchs(have, size, channels, mode, crop_mode, fraction, contrast):
    description = described(channels, size=size, interpolation=mode, crop_mode=crop_mode, crop_fraction=fraction)
    expected, found = both(drawn(channels, *have, contrast=contrast), description)
    assert found.shape == expected.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= (0 if NATIVE or mode != "bilinear" else 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("have", [(1100, 1500), (30, 40), (1, 1), (1, 60), (60, 1)])
def test_far_smaller_and_far_larger_images_too(have, mode):
    expected, found = both(drawn(1, *have), described(1, size=(48, 64), interpolation=mode))
    assert np.abs(found.astype(int) - expected).max() <= (0 if NATIVE or mode != "bilinear" else 1)


def test_the_networks_input_of_a_batch_in_any_order_of_memory_is_the_same():
    images, description = drawn(2, 50, 70, 3).transpose(0, 3, 1, 2), Preprocessing(size=24)
    expected = preprocess.preprocess(torch.from_numpy(images), description)
    found = resample.preprocess(images, description)
    assert found.dtype == np.float32 and torch.equal(torch.from_numpy(found), expected)


def test_what_can_not_be_resized_is_said(monkeypatch):
    def fail(*_):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(resample, "_axis", fail)
    with pytest.raises(DataError, match="70 x 50 pixels can't be brought to 20 x 24: Unable"):
        resample.resize_and_crop(drawn(3, 50, 70), Preprocessing(size=(24, 20)))
