"""Near-copies: what a hash survives, and what it tells apart."""

import numpy as np
import pytest
import torch
from PIL import Image

from moganet.data.duplicates import Hashes, hash_images, near_copies


def photo(seed, side=120):
    """Give a smooth random picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def hashed(*pictures):
    tensors = [torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy()) for picture in pictures]
    return Hashes.join([hash_images(tensor[None]) for tensor in tensors])


@pytest.mark.parametrize("size", [32, 64, 200])
def test_copies_agree_and_others_do_not(size):
    others = hashed(*(photo(seed) for seed in range(20)))
    copies = hashed(photo(7).resize((size, size)), photo(99), photo(3).resize((size, size)))
    assert near_copies(others, copies) == [(0, 7), (2, 3)]


def test_plain_images_and_tiny_lookalikes_are_no_copies():
    plain = hashed(Image.new("RGB", (50, 50), "red"), Image.new("RGB", (50, 50), "blue"))
    assert near_copies(plain, plain) == []
    tiny = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8))
    changed = tiny.clone()
    changed[0, 0, 2, 2] = 255 - changed[0, 0, 2, 2]
    assert near_copies(hash_images(tiny), hash_images(tiny)) == [(0, 0)]
    assert near_copies(hash_images(tiny), hash_images(changed)) == []
    assert near_copies(Hashes.join([]), hash_images(tiny)) == []
