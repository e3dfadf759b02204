"""Every recipe that ships starts and takes a step, on a few images of its own size and kind."""

import re

import pytest
from box_sets import make_coco
from PIL import Image
from stick_figures import make_people
from test_sources import make_cifar

import moganet
from moganet.config import list_recipes
from moganet.tasks.recipes import load_recipe

# The paper's table: weight decay, stochastic depth, RandAugment's magnitude, mixup, averaging, least rate.
IMAGENET = {
    "xtiny": (0.03, 0.05, "m7", 0.1, None, 1e-6),
    "tiny": (0.04, 0.1, "m7", 0.1, None, 1e-6),
    "small": (0.05, 0.1, "m9", 0.8, 0.9999, 1e-5),
    "base": (0.05, 0.2, "m9", 0.8, 0.9999, 1e-5),
    "large": (0.05, 0.3, "m9", 0.8, 0.9999, 1e-5),
    "xlarge": (0.05, 0.4, "m9", 0.8, 0.9999, 1e-5),
}


@pytest.mark.parametrize("variant", IMAGENET)
def test_imagenet_recipes_have_the_papers_settings(variant):
    recipe = load_recipe(f"imagenet-{variant}")
    decay, depth, magnitude, mixup, ema, min_lr = IMAGENET[variant]
    assert recipe.network.name == f"moganet_{variant}" and recipe.network.drop_path_rate == depth
    assert recipe.optimizer.weight_decay == decay and recipe.trainer.ema == ema
    assert recipe.augment.auto_augment == f"rand-{magnitude}-mstd0.5-inc1" and recipe.augment.mixup == mixup
    assert recipe.schedule.min_lr == min_lr and recipe.schedule.warmup == pytest.approx(5 / 300, abs=1e-4)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.lr_per) == ("adamw", 1e-3, 1024)
    assert (recipe.augment.cutmix, recipe.augment.erasing, recipe.loss.smoothing) == (1.0, 0.25, 0.1)
    assert recipe.trainer.max_epochs == 300 and recipe.preprocessing.crop_fraction == 0.9


@pytest.mark.parametrize("variant", ["xtiny", "tiny", "small", "base", "large"])
def test_a3_recipes_have_their_settings(variant):
    recipe = load_recipe(f"imagenet-{variant}-a3")
    assert recipe.network.name == f"moganet_{variant}" and recipe.preprocessing.size == (160, 160)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.lr_per) == ("lamb", 6e-3, 2048)
    assert recipe.optimizer.weight_decay == 0.02 and recipe.loss.name == "bce" and recipe.trainer.max_epochs == 100


def make_scenes(root):
    """Paint images of two halves, and their masks."""
    for place, value in (("images", 90), ("masks", 1)):
        for i in range(8):
            folder = root / place / ("train" if i < 4 else "val")
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB" if place == "images" else "L", (80, 70))
            picture.paste((value,) * 3 if place == "images" else value, (10 * i, 0, 80, 70))
            picture.save(folder / f"{i}.png")
    (root / "classes.txt").write_text("one\ntwo")
    return root


# Detectors' schedules are the same for each variant, so that all but the smallest's are tried with what is slow.
ALIKE = re.compile("coco-(maskrcnn|retinanet)-(tiny|small|base|large)")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] if ALIKE.match(one) else []) for one in list_recipes()]
)
def test_every_recipe_takes_a_step(name, tmp_path, monkeypatch):
    recipe = load_recipe(name)
    overrides = {"trainer.max_steps": 1, "data.batch_size": 2, "trainer.accumulate": 1, "data.workers": 0}
    overrides["trainer.precision"] = "f32"  # bf16 is emulated, and slow, on many processors
    overrides["network.depths"] = [1, 1, 1, 1]  # what is large takes long to write, and is no matter of a recipe's
    if "ade20k" in name:
        overrides["task.head"] = {"name": name.split("-")[1], "channels": 16}
    if "imagenet" in name or "ade20k" in name:
        overrides["network.embed_dims"] = [16, 16, 32, 32]
    if recipe.preprocessing.size[0] > 64:
        overrides["preprocessing.size"] = 64
    if recipe.data.source == "folder":
        for i in range(8):
            folder = tmp_path / "photos" / ("train" if i < 4 else "val") / f"class {i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (80, 70), (30 * i, 0, 0)).save(folder / f"{i}.jpg")
        data = str(tmp_path / "photos")
    elif recipe.data.source == "masks":
        overrides["augment.crop_size"] = 32
        data = f"masks:{make_scenes(tmp_path / 'photos')}"
    elif recipe.data.source == "coco":
        head = {"name": recipe.task.head.name, "neck": 16, "scale": recipe.task.head.scale}
        overrides["task.head"] = head | (
            {"convs": 1} if head["name"] == "retinanet" else {"hidden": 16, "proposals": 20}
        )
        overrides["network.embed_dims"] = [16, 16, 32, 32]
        if recipe.augment.short_side is not None:
            overrides["augment.short_side"] = [48, 64]
        data = f"coco:{make_coco(tmp_path / 'things', number=2)}"
    elif recipe.data.source == "keypoints":
        overrides["task.head"] = {"name": "heatmap", "channels": [16, 16, 16]}
        overrides["network.embed_dims"] = [16, 16, 32, 32]
        data = f"keypoints:{make_people(tmp_path / 'people', images=2)}"
    elif recipe.data.source == "table":
        rows = ["image,tags,split"]
        for i in range(8):
            Image.new("RGB", (80, 70), (30 * i, 0, 0)).save(tmp_path / f"{i}.jpg")
            rows.append(f"{i}.jpg,{('red', 'dark', 'red|dark', '')[i % 4]},{'train' if i < 4 else 'val'}")
        (tmp_path / "photos.csv").write_text("\n".join(rows))
        data = f"table:{tmp_path / 'photos.csv'}?labels=tags"
    elif recipe.data.source.startswith("cifar"):
        data = f"{recipe.data.source}:{make_cifar(recipe.data.source, tmp_path, monkeypatch)}"
        overrides["data.validation"] = 0.2
    else:
        data = None
    result = moganet.train(name, data=data, overrides=overrides, out=tmp_path / "run")
    assert result["steps"] == 1 and (tmp_path / "run" / "best.safetensors").is_file()
