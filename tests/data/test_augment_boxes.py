"""Boxes and masks go where their image goes; batches of images that differ in size; the reference's preprocessing."""

import json

import numpy as np
import pytest
import torch
from box_sets import make_coco, picture
from dense_files import golden_dense
from dense_files import picture as dense_picture

from moganet import open_data
from moganet.config import Preprocessing
from moganet.config.recipe import AugmentConfig, DataConfig
from moganet.data.augment_boxes import ObjectTransform
from moganet.data.module import ImageDataModule, filled_up
from moganet.data.order import Division, EpochOrder, StepParts
from moganet.data.preprocess import bring_to_size, preprocess
from moganet.errors import ConfigError

FIT = Preprocessing(size=(40, 60), crop_mode="fit", interpolation="bilinear", antialias=False)
AUGMENTED = {
    "plain": AugmentConfig(),
    "mirrored": AugmentConfig(hflip=1.0),
    "drawn size": AugmentConfig(short_side=(20, 60), hflip=0.5),
    "part": AugmentConfig(crop="scaled", crop_size=(32, 48), zoom=(0.8, 2.0)),
    "resized part": AugmentConfig(crop="resized", scale=(0.3, 1.0)),
    "turned": AugmentConfig(rotation=20),
    "mosaic": AugmentConfig(mosaic=1.0, hflip=0.5),
    "distorted": AugmentConfig(distort=0.5, color_jitter=(0.1, 0.1, 0.1)),
}


def module(root, augment, preprocessing=FIT, batch=3, **data):
    config = DataConfig(source="x", batch_size=batch, workers=0, **data)
    return ImageDataModule(open_data(f"coco:{root}"), config, preprocessing, augment, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp("set"))


@pytest.mark.parametrize("name", AUGMENTED)
def test_boxes_and_masks_go_where_their_image_goes(name, root):
    made = module(root, AUGMENTED[name])
    for batch in made.train_dataloader():
        assert batch.images.shape[-2] % 32 == 0 == batch.images.shape[-1] % 32 and len(batch.sizes) == 3
        for image, target, (height, width) in zip(batch.images, batch.targets, batch.sizes, strict=True):
            assert target["size"].tolist() == [height, width] and target["masks"].shape[1:] == (height, width)
            assert not image[:, height:].any() and not image[:, :, width:].any()
            assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"])
            for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
                left, top, right, bottom = box.tolist()
                assert 0 <= left < right <= width and 0 <= top < bottom <= height
                rows, columns = mask.nonzero().T
                slack = 9 if name == "turned" else 1.5  # the box around a turned box is wider than what it holds
                around = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                assert np.allclose([left, top, right, bottom], around, atol=slack)
                if name in ("plain", "mirrored", "drawn size", "mosaic"):
                    inner = image[:, mask.bool().nonzero()[:, 0].median(), mask.bool().nonzero()[:, 1].median()].int()
                    assert inner[0 if label else 2] > inner[2 if label else 0] + 100
        augmented = made.augmented(batch)
        height, width = augmented.sizes[0]
        assert augmented.images[0, :, :height, :width].any() and not augmented.images[0, :, height:].any()


def test_what_leaves_the_image_is_dropped_and_crowds_are_not_learned(tmp_path):
    def change(lists):
        lists["annotations"][0]["iscrowd"] = 1

    dataset = open_data(f"coco:{make_coco(tmp_path, change=change)}")
    split = dataset.split("train")
    transform = ObjectTransform(AugmentConfig(), FIT)
    assert len(transform(split[0].image, split[0].target)[1]["boxes"]) == 0 and len(split[0].target["boxes"]) == 1
    zoomed = ObjectTransform(AugmentConfig(crop="scaled", zoom=(8.0, 8.0), crop_size=16), FIT)
    torch.manual_seed(0)
    numbers = {len(zoomed(split[1].image, split[1].target)[1]["boxes"]) for _ in range(40)}
    assert numbers == {0, 1}


def test_each_draw_depends_on_its_seed_alone(root):
    made = module(root, AUGMENTED["mosaic"])
    batches = list(made.train_dataloader())
    made.position = (0, 1)
    later = next(iter(made.train_dataloader()))  # as a run that goes on within the epoch
    assert torch.equal(later.images, batches[1].images) and later.sizes == batches[1].sizes
    assert all(
        torch.equal(one[key], other[key])
        for one, other in zip(later.targets, batches[1].targets, strict=True)
        for key in ("boxes", "labels", "masks")
    )


def test_workers_give_the_same_batches(root):
    alone, helped = (module(root, AUGMENTED["drawn size"]) for _ in range(2))
    helped.data = helped.data.changed(workers=1)
    loader = helped.train_dataloader()
    for one, other in zip(alone.train_dataloader(), loader, strict=True):
        assert torch.equal(one.images, other.images) and one.sizes == other.sizes
        assert torch.equal(one.targets[0]["boxes"], other.targets[0]["boxes"])
    helped.teardown("fit")


def test_validation_sees_whole_images_with_all_that_is_marked(root):
    batch = next(iter(module(root, AugmentConfig()).val_dataloader()))
    assert batch.images.shape == (1, 3, 40, 60) and batch.sizes == () and "crowd" in batch.targets[0]


WRONG = {
    "auto_augment": (AugmentConfig(auto_augment="rand-m9"), FIT),
    "erasing": (AugmentConfig(erasing=0.5), FIT),
    "short_side goes": (AugmentConfig(short_side=(60, 20)), FIT),
    "short_side is for": (AugmentConfig(short_side=(20, 60)), FIT.changed(crop_mode="squash")),
    "crop_mode center": (AugmentConfig(), Preprocessing(size=32)),
}


@pytest.mark.parametrize("said", WRONG)
def test_settings_that_would_lose_boxes_are_refused(said, root):
    augment, preprocessing = WRONG[said]
    with pytest.raises(ConfigError, match=said):
        module(root, augment, preprocessing)


@pytest.mark.parametrize("augment", [AugmentConfig(mosaic=0.5), AugmentConfig(short_side=(20, 40))])
def test_settings_of_boxes_are_for_boxes(augment):
    with pytest.raises(ConfigError, match="boxes are marked"):
        ImageDataModule(
            open_data("digits"),
            DataConfig(source="digits"),
            Preprocessing(size=8, channels=1, mean=0.5, std=0.5),
            augment,
            0,
        )


# Shapes


def test_steps_hold_images_of_one_shape_whoever_shares_them():
    kinds = torch.rand(101, generator=torch.Generator().manual_seed(0)) < 0.3

    def steps(division, start=(0, 0), epoch=2):
        order = EpochOrder(101, 5).apart(kinds, 8)
        parts = StepParts(order, 8, division, drop_last=False, start=start)
        order.set_epoch(epoch)
        return [[draw.image for draw in part] for part in parts]

    whole = steps(Division())
    assert sorted(image for step in whole for image in step) == list(range(101))
    mixed = [len({bool(kinds[image]) for image in step}) > 1 for step in whole]
    assert sum(mixed) <= 2 and not any(mixed[: 101 // 8 - 2])
    shared = steps(Division(accumulate=2))
    assert [a + b for a, b in zip(shared[::2], shared[1::2], strict=True)] == whole
    assert whole != steps(Division(), epoch=3) and steps(Division(), (2, 3)) == whole[3:]


def test_lying_and_standing_images_are_kept_apart(tmp_path):
    make_coco(tmp_path, number=8, splits=("train",))
    lists = json.loads((tmp_path / "annotations" / "instances_train2017.json").read_text())
    for i in range(0, 8, 2):
        picture(tmp_path / "train2017" / f"{i}.png", i, size=(40, 60))
        lists["images"][i].update(width=40, height=60)
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(lists))
    made = module(tmp_path, AugmentConfig(), batch=2, by_shape=True, validation=0.25)
    sizes = [set(batch.sizes) for batch in made.train_dataloader()]
    assert all(len(one) == 1 for one in sizes) and {(40, 60), (60, 40)} == set().union(*sizes)


# The reference


@pytest.mark.parametrize("case", ["det0", "det1", "det2", "det3"])
def test_images_are_brought_to_size_as_the_references_detectors_do_it(case):
    golden, metadata = golden_dense("preprocess")
    told = metadata["cases"][case]
    image = torch.from_numpy(dense_picture(told["height"], told["width"], told["seed"]))
    own = Preprocessing(size=(800, 1333), crop_mode="fit", interpolation="bilinear", antialias=False)
    sized, _ = bring_to_size(image, None, own)
    height, width, padded_height, padded_width = golden[f"{case}.shape"].tolist()
    assert sized.shape[1:] == (height, width)
    assert (sized[:, ::32, ::32].permute(1, 2, 0) == golden[f"{case}.resized"]).all()  # OpenCV's very bytes
    filled, sizes = filled_up([preprocess(image, own)])
    assert filled[0].shape[1:] == (padded_height, padded_width) and sizes == ((height, width),)
    assert (filled[0][:, ::32, ::32] - golden[f"{case}.input"]).abs().max() < 1e-5
    scale = golden[f"{case}.scale_factor"].tolist()
    assert scale == pytest.approx([width / told["width"], height / told["height"]] * 2, abs=1e-6)
