"""Near-copies: what a hash survives, and what it tells apart."""

import numpy as np
import pytest
import torch
from PIL import Image

from moganet.data import duplicates
from moganet.data.duplicates import Hashes, earlier_copies, hash_images, is_same_picture, near_copies


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


def test_earlier_copies_are_those_of_a_plain_comparison(monkeypatch):
    monkeypatch.setattr(duplicates, "CHUNK", 7)
    random = np.random.default_rng(0)
    bits = np.repeat(random.integers(0, 2, (10, 128), dtype=np.uint8), 3, axis=0)[random.permutation(30)]
    flips = random.random(bits.shape) < 0.02
    packed = np.packbits(bits ^ flips, axis=1).view(np.uint64)
    hashes = Hashes(packed, random.choice([-1, 0, 6], 30, p=[0.1, 0.1, 0.8]))
    apart = np.bitwise_count(packed[:, None] ^ packed[None]).sum(2)
    expected = {}
    for i in range(30):
        near = [j for j in range(i) if apart[i, j] <= min(hashes.tolerance[i], hashes.tolerance[j])]
        if near:
            expected[i] = sorted(near, key=lambda j: (apart[i, j], j))
    assert expected and earlier_copies(hashes) == expected
    assert earlier_copies(Hashes.join([])) == {}


def test_one_picture_encoded_anew_is_told_from_another_frame(tmp_path):
    first = photo(5, 200)
    first.save(tmp_path / "a.jpg", quality=80)
    moved = first.copy()
    moved.paste((128, 128, 128), (90, 90, 110, 110))
    tensors = [
        torch.from_numpy(np.asarray(picture.convert("RGB")).transpose(2, 0, 1).copy())
        for picture in (first, Image.open(tmp_path / "a.jpg"), first.resize((150, 150)), moved)
    ]
    assert [is_same_picture(tensors[0], other) for other in tensors] == [True, True, True, False]
