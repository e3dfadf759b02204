"""Augmentation: every image its own draw, and the described size in the end."""

import pytest
import torch

from moganet.config import AugmentConfig, Preprocessing
from moganet.data.augment import BatchAugment, Mix, RandomCropToSize, Turns
from moganet.data.preprocess import match_channels, preprocess

PLAIN = Preprocessing(size=32, crop_mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
EACH = {
    "pad": {"crop": "pad"},
    "resized": {"crop": "resized"},
    "hflip": {"hflip": 0.5},
    "rotation": {"rotation": 20.0},
    "translate": {"translate": 0.2},
    "zoom": {"zoom": (0.5, 1.5)},
    "jitter": {"color_jitter": (0.5, 0.5, 0.5)},
    "erasing": {"erasing": 0.5},
}


def batch(number=16, size=32, channels=3):
    image = torch.randint(0, 256, (1, channels, size, size), dtype=torch.uint8)
    return image.expand(number, -1, -1, -1).clone()


@pytest.mark.parametrize("name", EACH)
def test_equal_images_come_out_different_and_a_seed_repeats_them(name):
    augment = BatchAugment(AugmentConfig(**EACH[name]), PLAIN)
    images = batch()
    torch.manual_seed(1)
    first = augment(images)
    torch.manual_seed(1)
    assert torch.equal(augment(images), first)
    assert first.shape == (16, 3, 32, 32) and first.isfinite().all()
    assert len({tuple(image.flatten()[::97].tolist()) for image in first}) > 1


def test_without_augmentation_training_sees_what_evaluation_sees():
    images = batch(4, 40)
    assert torch.allclose(BatchAugment(AugmentConfig(), PLAIN)(images), preprocess(images, PLAIN), atol=1e-5)


def test_a_flip_is_a_flip():
    images = batch(3)
    flipped = BatchAugment(AugmentConfig(hflip=1.0), PLAIN)(images)
    assert torch.allclose(flipped, preprocess(images, PLAIN).flip(-1), atol=1e-5)


def test_by_turns_an_image_is_mirrored_in_every_second_epoch():
    turns, images = Turns(64, 3), torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    seen = [turns(images, range(64), epoch) for epoch in range(4)]
    assert torch.equal(seen[0].flip(-1), seen[1]) and torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    mirrored = (seen[0] != images).flatten(1).any(1)
    assert 16 < mirrored.sum() < 48
    some = [40, 3, 17]  # whatever batch they come in
    assert torch.equal(turns(images[some], some, 0), seen[0][some])
    assert not torch.equal(Turns(64, 4)(images, range(64), 0), seen[0])


def test_padding_shifts_over_reflected_borders():
    images = torch.arange(32, dtype=torch.uint8).view(1, 1, 1, 32).expand(8, 3, 32, 32).contiguous()
    shifted = BatchAugment(AugmentConfig(crop="pad", pad=4), PLAIN)(images)
    values = torch.round((shifted * 0.5 + 0.5) * 255)
    for image in values:
        row = image[0, 16]
        inside = row[4:-4]
        assert (inside[1:] - inside[:-1]).abs().max() == 1 and row.min() >= 0 and row.max() <= 31


@pytest.mark.parametrize("crop", ["none", "pad", "resized"])
def test_workers_bring_any_size_to_one(crop):
    transform = RandomCropToSize(AugmentConfig(crop=crop), PLAIN)
    for height, width in ((10, 60), (33, 31), (1, 1)):
        out, target = transform(torch.zeros(3, height, width, dtype=torch.uint8), 7)
        assert target == 7
        assert out.shape == (3, 32, 32) and out.dtype == torch.uint8


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0), (0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("number", [1, 5, 8])
def test_mixing_gives_soft_targets_that_sum_to_one(mixup, cutmix, number):
    mix = Mix(AugmentConfig(mixup=mixup, cutmix=cutmix), 4)
    images, targets = mix(torch.randn(number, 3, 8, 8), torch.arange(number) % 4)
    assert images.shape == (number, 3, 8, 8) and targets.shape == (number, 4)
    assert torch.allclose(targets.sum(1), torch.ones(number))


def test_the_share_of_mixed_batches_is_mix_prob():
    torch.manual_seed(0)
    mix = Mix(AugmentConfig(cutmix=1.0, mix_prob=0.25), 4)
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
    mixed = [mix(images, labels)[1].is_floating_point() for _ in range(400)]
    assert 70 < sum(mixed) < 130
    assert all(not Mix(AugmentConfig(cutmix=1.0, mix_prob=0.0), 4)(images, labels)[1].is_floating_point() for _ in "ab")


def test_no_mixing_changes_nothing():
    images, labels = torch.randn(2, 3, 4, 4), torch.tensor([0, 1])
    mixed = Mix(AugmentConfig(), 2)(images, labels)
    assert mixed[0] is images and mixed[1] is labels


@pytest.mark.parametrize(("have", "want"), [(1, 3), (3, 1), (3, 3), (1, 1), (4, 3)])
def test_channels_are_matched(have, want):
    assert match_channels(batch(2, 4, have), want).shape == (2, want, 4, 4)


def test_grey_images_can_be_jittered():
    grey = Preprocessing(size=8, channels=1, mean=0.5, std=0.5)
    assert BatchAugment(AugmentConfig(color_jitter=(0.2, 0.2, 0.2)), grey)(batch(2, 8, 1)).shape == (2, 1, 8, 8)
