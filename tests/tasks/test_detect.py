"""Detection: COCO's figures beside pycocotools', what is right and wrong, thresholds, files of answers, the recipe."""

import contextlib
import csv
import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from box_sets import make_coco, make_yolo
from conftest import MINI, real_data
from PIL import Image

import moganet
from moganet.config import Architecture, Preprocessing, list_recipes
from moganet.data import open_data
from moganet.data.outlines import runs_of_mask
from moganet.errors import ConfigError
from moganet.inference import ModelDescription, save_model_file
from moganet.models.build import build_network_for, build_seeded
from moganet.tasks import TASKS
from moganet.tasks.detect.coco import NAMES, evaluated
from moganet.tasks.detect.counting import (
    CROWD,
    NOTHING,
    best_thresholds,
    confusions,
    counted,
    curve,
    found_by_size,
    overlaps,
    taken_for,
)
from moganet.tasks.detect.description import DetectDescription
from moganet.tasks.detect.listing import listed
from moganet.tasks.detect.scenes import Scene, Things, as_sides, results_of, runs_text, unpacked
from moganet.tasks.detect.tiling import best_of, by_tiles, tiles_of
from moganet.tasks.optimize import build_optimizer
from moganet.tasks.recipes import load_recipe

CLASSES = ("ant", "bee", "cat", "dog")
SPARSE = (3, 17, 18, 90)


def boxes_in(random, number, size=(240, 320)):
    sides = np.exp(random.uniform(np.log(5), np.log(220), (number, 2)))
    corner = random.uniform(0, 1, (number, 2)) * np.maximum(1, np.array(size[::-1]) - sides)
    return np.concatenate([corner, np.minimum(corner + sides, size[::-1])], 1)


def mask_of(box, size, random):
    mask = np.zeros(size, bool)
    left, top, right, bottom = box.round().astype(int)
    mask[top:bottom, left:right] = random.rand(bottom - top, right - left) < 0.9
    return runs_text(mask)


def made_scenes(number=14, seed=0):
    """Make images with crowds, without objects, without answers, and with answers near objects or anywhere."""
    random, scenes, size = np.random.RandomState(seed), [], (240, 320)
    for place in range(number):
        truth = boxes_in(random, 0 if place == 3 else random.randint(1, 9))
        labels = random.randint(0, 3, len(truth))  # no image shows a dog
        crowd = random.rand(len(truth)) < 0.2
        near = truth + random.normal(0, 2, truth.shape)
        found = np.concatenate([near[random.rand(len(near)) < 0.8], boxes_in(random, random.randint(0, 4))])
        found = np.sort(found.reshape(-1, 2, 2), 1).reshape(-1, 4).clip(0, [320, 240, 320, 240])
        found = found[(found[:, 2:] - found[:, :2]).min(1) > 1] if place != 5 else found[:0]
        given = np.where(random.rand(len(found)) < 0.8, np.resize(labels, len(found)), random.randint(0, 4, len(found)))
        scores = np.sort(random.rand(len(found)).round(2))[::-1]  # some of them are equal
        areas = (truth[:, 2:] - truth[:, :2]).prod(1) * 0.7
        known = Things(truth, labels, tuple(mask_of(b, size, random) for b in truth), areas=areas, crowd=crowd)
        said = Things(found, given, tuple(mask_of(b, size, random) for b in found), scores=scores)
        scenes.append(Scene(1000 - 7 * place, size, known, said))
    return scenes


def coco_plain(scenes):
    annotations = []
    for scene in scenes:
        truth = scene.truth
        for i, box in enumerate(truth.boxes.tolist()):
            segmentation = {"size": list(scene.size), "counts": truth.runs[i]}
            own = {"id": len(annotations) + 1, "image_id": scene.image, "category_id": SPARSE[truth.labels[i]]}
            crowd, area = int(truth.crowd[i]), float(truth.areas[i])
            annotations.append(
                own | {"bbox": as_sides(box), "area": area, "iscrowd": crowd, "segmentation": segmentation}
            )
    images = [{"id": one.image, "height": one.size[0], "width": one.size[1]} for one in scenes]
    categories = [{"id": i, "name": name} for i, name in zip(SPARSE, CLASSES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}


def pycocotools_of(plain, results, code, category=None):
    """Give pycocotools' own figures of COCO's form and list of results."""
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = plain
        truth.createIndex()
        one = evaluation.COCOeval(truth, truth.loadRes([dict(result) for result in results]), code)
        if category is not None:
            one.params.catIds = [category]
        one.evaluate()
        one.accumulate()
        one.summarize()
    return one.stats


def test_figures_are_pycocotools_with_crowds_empty_images_sparse_ids_and_in_any_order():
    pytest.importorskip("faster_coco_eval")
    scenes = made_scenes()
    plain = coco_plain(scenes)
    results = [one for scene in scenes for one in results_of(scene.found, scene.image, scene.size, SPARSE)]
    lines = b"".join(scene.packed() for scene in reversed(scenes))
    sets = evaluated(unpacked(lines), CLASSES)
    for kind, code in (("box", "bbox"), ("mask", "segm")):
        expected = pycocotools_of(plain, results, code)
        figures = sets[kind].figures
        assert [-1 if figures[name] is None else figures[name] for name in NAMES] == pytest.approx(
            expected.tolist(), abs=1e-6
        )
        assert 0.1 < figures.ap < 0.95
        for i, category in enumerate(SPARSE[:3]):
            own = pycocotools_of(plain, results, code, category)
            assert (sets[kind].ap[i], sets[kind].ap50[i]) == pytest.approx((own[0], own[1]), abs=1e-6)
        assert np.isnan(sets[kind].ap[3])


def test_figures_of_nothing_are_known_to_be_nothing():
    pytest.importorskip("faster_coco_eval")
    none = Things(np.zeros((0, 4)), np.zeros(0, int), scores=np.zeros(0))
    some = Things(np.array([[0, 0, 9, 9.0]]), np.array([1]), areas=np.array([81.0]), crowd=np.array([False]))
    empty = Things(np.zeros((0, 4)), np.zeros(0, int), areas=np.zeros(0), crowd=np.zeros(0, bool))
    assert evaluated([Scene(1, (9, 9), some, none)], CLASSES)["box"].figures.ap == 0
    assert evaluated([Scene(1, (9, 9), empty, none)], CLASSES)["box"].figures.ap is None
    found = Things(some.boxes, some.labels, scores=np.array([0.5]))
    figures = evaluated([Scene(1, (9, 9), some, found)], CLASSES)["box"].figures
    assert figures.ap == pytest.approx(1) and figures.ap_large is None and "AP 100" in figures.line()


def scene_of(truth, found, crowd=(), size=(100, 100)):
    """Make a scene of (label, box) and (label, box, score)."""
    boxes = np.array([box for _, box in truth], float).reshape(-1, 4)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    crowds = np.isin(np.arange(len(truth)), crowd)
    known = Things(boxes, np.array([label for label, _ in truth], int), areas=areas, crowd=crowds)
    given = np.array([one[1] for one in found], float).reshape(-1, 4)
    labels, scores = (np.array([one[part] for one in found], kind) for part, kind in ((0, int), (2, float)))
    return Scene(1, size, known, Things(given, labels, scores=scores))


def test_each_object_is_found_once_a_crowd_forgives_and_confusions_are_named():
    truth = [(0, (0, 0, 10, 10)), (1, (20, 0, 40, 20)), (2, (50, 50, 90, 90)), (0, (0, 40, 40, 80))]
    found = [(0, (0, 0, 10, 10), 0.9), (0, (0, 1, 10, 10), 0.8), (2, (21, 0, 40, 20), 0.7), (0, (5, 45, 15, 55), 0.6)]
    one = counted(scene_of(truth, found, crowd=[3]))
    assert one.object_of.tolist() == [0, NOTHING, NOTHING, CROWD] and one.answer_of.tolist() == [
        0,
        NOTHING,
        NOTHING,
        NOTHING,
    ]
    cuts = np.full(3, 0.5)
    assert one.said(cuts).tolist() == [True, True, True, False] and one.seen(cuts).tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert taken_for(one, cuts) == [(1, 2)] and confusions([one], cuts) == {(1, 2): 1}
    assert taken_for(one, np.full(3, 0.75)) == []  # the answer is not sure enough
    rows = list(listed("a.jpg", one, cuts, CLASSES))
    assert [(row[1], row[2], row[-1]) for row in rows] == [
        ("TP", "ant", ""),
        ("FP", "ant", ""),
        ("FP", "cat", "bee"),
        ("FN", "bee", "cat"),
        ("FN", "cat", ""),
    ]
    assert found_by_size([one], cuts) == {"small": (2, 1), "medium": (1, 0), "large": (0, 0)}
    boxes = np.array([[0, 0, 10, 10.0], [0, 0, 10, 20]])
    assert overlaps(boxes[:1], boxes, np.array([False, True])).tolist() == [[1.0, 1.0]]


def test_thresholds_are_those_of_the_best_f1_of_all_cuts():
    random = np.random.RandomState(2)
    scores, right = random.rand(200).round(2), random.rand(200) < 0.4
    scores = np.where(right, scores, scores * 0.7)
    own = curve(scores, right, 100)

    def f1(cut):
        said = scores >= cut
        return 2 * (said & right).sum() / (said.sum() + 100)

    best = max(f1(cut) for cut in np.unique(scores))
    assert f1(own.best()) == pytest.approx(best) and own.precision[-1] == pytest.approx(right.mean())
    assert curve(scores[:0], right[:0], 5).best() is None and curve(scores, right & False, 5).best() is None
    scenes = [counted(scene) for scene in made_scenes()]
    thresholds = best_thresholds(scenes, len(CLASSES))
    assert len(thresholds) == 4 and all(0 < one < 1 for one in thresholds)
    assert best_thresholds([], 2) == (0.5, 0.5)


# A model's answers: an untrained one's, in a set that is made of some of them


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write an untrained Mask R-CNN of three classes that finds something everywhere."""
    head = {"name": "maskrcnn", "neck": 16, "hidden": 32, "proposals": 40, "score": 0.2, "most": 12, "scale": 4}
    architecture = Architecture(**{**MINI, "num_classes": 3}, in_chans=3, head=head)
    network = build_seeded(architecture).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if "fc_cls.weight" in name or "conv_logits.weight" in name:
            torch.nn.init.normal_(parameter, std=1.0, generator=generator)
    own = Preprocessing(size=[64, 96], crop_mode="fit", interpolation="bilinear")
    task = DetectDescription(class_names=CLASSES[:3], category_ids=SPARSE[:3], thresholds=(0.3, 0.4, 0.5))
    path = tmp_path_factory.mktemp("detector") / "m.safetensors"
    save_model_file(
        path, network.state_dict(), ModelDescription(architecture=architecture, preprocessing=own, task=task)
    )
    return path


@pytest.fixture(scope="module")
def coco_set(model, tmp_path_factory):
    """Write pictures, and annotations near what the model finds in them: masks, a crowd, an empty image, sparse ids."""
    folder, random = tmp_path_factory.mktemp("set"), np.random.RandomState(4)
    (folder / "val2017").mkdir()
    (folder / "annotations").mkdir()
    predictor, images, things = moganet.load(model, "eager"), [], []
    for number in range(5):
        width, height = 90 + 10 * number, 70
        place = folder / "val2017" / f"{number + 1:03}.png"
        Image.fromarray(random.randint(0, 256, (height, width, 3), np.uint8)).resize((width, height)).save(place)
        images.append({"id": 70 - number, "file_name": place.name, "width": width, "height": height})
        (found,) = predictor(place)
        for i in range(0, 0 if number == 2 else len(found.labels), 2):
            mask = found.mask(i)
            if not mask.any():
                continue
            left, top, right, bottom = (found.boxes[i] + random.uniform(-2, 2, 4)).clip(0, [width, height] * 2).tolist()
            box = [left, top, max(2.0, right - left), max(2.0, bottom - top)]
            runs = {"size": [height, width], "counts": runs_of_mask(np.roll(mask, 1, 1))}
            one = {"id": len(things) + 1, "image_id": 70 - number, "category_id": SPARSE[found.labels[i]], "bbox": box}
            things.append(one | {"area": float(mask.sum()), "iscrowd": int(i == 4), "segmentation": runs})
    categories = [{"id": i, "name": name} for i, name in zip(SPARSE[:3], CLASSES[:3], strict=True)]
    plain = {"images": images, "annotations": things, "categories": categories}
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(plain))
    return folder


def test_evaluation_is_cocos_own_over_the_file_of_results(model, coco_set, tmp_path):
    pytest.importorskip("faster_coco_eval")
    results = tmp_path / "r.json"
    found = moganet.predict(model, str(coco_set / "val2017"), coco=results, runtime="eager")
    assert found.coco == str(results) and any("instances_val2017" in note for note in found.notes)
    data = f"coco:{coco_set}?broken=drop"
    measured = moganet.evaluate(model, data=data, split="val", runtime="eager", out=tmp_path / "e")
    plain = json.loads((coco_set / "annotations" / "instances_val2017.json").read_text()) | {"info": {}}
    for one in plain["annotations"]:
        mask = pytest.importorskip("pycocotools.mask")
        one["segmentation"] = mask.frPyObjects(one["segmentation"], *one["segmentation"]["size"])
    listed = json.loads(results.read_text())
    for kind, code in (("box", "bbox"), ("mask", "segm")):
        expected = pycocotools_of(plain, listed, code)
        figures = measured[kind]
        assert [-1 if figures[name] is None else figures[name] for name in NAMES] == pytest.approx(
            expected.tolist(), abs=1e-6
        )
        assert figures.ap > 0.05
    assert measured.ap == measured.box.ap and measured.right and measured.missed + measured.wrong
    assert [one.file for one in measured.images] == [str(coco_set / "val2017" / f"{i:03}.png") for i in range(1, 6)]
    with open(tmp_path / "e" / "objects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    outcomes = [sum(row["outcome"] == one for row in rows) for one in ("TP", "FP", "FN")]
    assert outcomes == [measured.right, measured.wrong, measured.missed]
    again = tmp_path / "again.json"
    moganet.predict(model, data=data, split="val", coco=again, runtime="eager")
    assert json.loads(again.read_text()) == listed


def test_what_is_shown_is_written_in_every_form(model, coco_set, tmp_path):
    out, csv_file = tmp_path / "out", tmp_path / "o.csv"
    files = [str(path) for path in sorted((coco_set / "val2017").iterdir())]
    found = moganet.predict(model, files, out=out, csv_file=csv_file, save_images=tmp_path / "p", runtime="eager")
    coco = json.loads((out / "coco.json").read_text())
    total = sum(len(row.objects) for row in found.predictions)
    assert total and len(coco["annotations"]) == total == len(list((out / "crops").rglob("*.jpg")))
    assert {one["category_id"] for one in coco["annotations"]} <= set(SPARSE) and len(coco["images"]) == 5
    assert (out / "classes.txt").read_text().split() == list(CLASSES[:3])
    predictor = moganet.load(model, "eager")
    for row, file in zip(found.predictions, files, strict=True):
        (answer,) = predictor(file)
        stem = Path(file).stem
        with Image.open(file) as image, Image.open(out / "pictures" / f"{stem}.jpg") as picture:
            assert picture.size == image.size == answer.size[::-1]
        lines = [line.split() for line in (out / "labels" / f"{stem}.txt").read_text().splitlines()]
        assert len(lines) == len(row.objects) == len(answer.shown)
        for line, one, place in zip(lines, row.objects, answer.shown, strict=True):
            assert one.score >= answer.cuts[answer.labels[place]] and one.name == CLASSES[int(line[0])]
            x, y, width, height = np.array(line[1:], float) * np.tile(answer.size[::-1], 2)
            assert (x - width / 2, y - height / 2, x + width / 2, y + height / 2) == pytest.approx(one.box, abs=1e-3)
            assert one.pixels == answer.mask(place).sum()
    with open(csv_file, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["name"]) for row in rows) == total and {row["file"] for row in rows} == set(files)
    with open(out / "objects.csv", newline="") as file:
        assert [row["score"] for row in csv.DictReader(file)] == [row["score"] for row in rows]
    with pytest.raises(ConfigError, match="nothing is replaced"):
        (tmp_path / "mine" / "pictures").mkdir(parents=True)
        (tmp_path / "mine" / "pictures" / f"{Path(files[0]).stem}.jpg").write_bytes(b"mine")
        moganet.predict(model, files, out=tmp_path / "mine", runtime="eager")


def test_tiles_find_what_the_whole_shows_too_small_and_no_half_things():
    def find(pixels):
        """Find squares of one colour, if they have eight pixels a side after the image is brought to 64 pixels."""
        shrunk = max(1.0, max(pixels.shape[1:]) / 64)
        boxes = []
        for value in (50, 100, 150, 200):
            rows, columns = np.nonzero(pixels[0] == value)
            if len(rows) and (np.ptp(columns) + 1) / shrunk >= 8:
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        boxes = np.array(boxes, np.float32).reshape(1, -1, 4)
        number = boxes.shape[1]
        size = np.array([pixels.shape[1:]])
        found = {"boxes": boxes, "scores": np.full((1, number), 0.9), "labels": np.zeros((1, number), int)}
        return {**found, "size": size}

    pixels = np.zeros((3, 150, 200), np.uint8)
    expected = []
    for value, (left, top, side) in zip((50, 100, 150), ((5, 5, 10), (100, 60, 12), (120, 80, 60)), strict=True):
        pixels[:, top : top + side, left : left + side] = value
        expected.append([left, top, left + side, top + side])
    whole = find(pixels)
    assert whole["boxes"][0].tolist() == [expected[2]]
    found = by_tiles(pixels, tiles_of(64), find, 0.5)
    assert sorted(found["boxes"][0].tolist()) == sorted(expected) and found["size"].tolist() == [[150, 200]]
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10.0]])
    assert best_of(boxes, np.array([0.5, 0.6, 0.4]), np.array([0, 0, 1]), 0.5) == [1, 2]


def test_tiles_and_what_is_not_answered_are_said(model, coco_set, tmp_path):
    file = str(coco_set / "val2017" / "001.png")
    (plain,) = moganet.predict(model, file, runtime="eager").predictions
    (tiled,) = moganet.predict(model, file, tiles=48, runtime="eager").predictions
    assert moganet.predict(model, file, tiles=400, runtime="eager").predictions[0] == plain and tiled.objects
    (few,) = moganet.predict(model, file, top_k=2, runtime="eager").predictions
    assert few.objects == plain.objects[:2]
    for refused in ({"tta": "flip"}, {"calibrated": True}):
        with pytest.raises(ConfigError):
            moganet.predict(model, file, runtime="eager", **refused)
    with pytest.raises(ConfigError, match="not averaged"):
        moganet.predict([model, model], file, runtime="eager")
    with pytest.raises(ConfigError, match="neither right nor wrong"):
        moganet.compare([model, model], f"coco:{coco_set}?broken=drop", "val", out=tmp_path / "c.html")
    with pytest.raises(ConfigError, match="whole images"):
        moganet.predict("moganet_nano.digits", file, tiles=48)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "least"), [("maskrcnn", (0.95, 0.85)), ("retinanet", (0.95, 0.0))])
def test_eight_pictures_of_coco_are_learned_by_heart(head, least, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    by_heart = importlib.import_module("by_heart")
    by_heart.eight_of(real_data("coco-mini"), tmp_path / "set")
    found = by_heart.learned(head, tmp_path / "set", tmp_path / "run")
    assert found["box_ap50"] >= least[0] and found.get("mask_ap50", 1.0) >= least[1]
    assert found["processor_seconds"] / 2 < 12 * 60


@pytest.mark.parametrize("source", ["coco", "yolo"])
def test_what_is_trained_numbers_its_classes_as_its_data_set_does(source, tmp_path):
    make, expected = {"coco": (make_coco, (3, 90)), "yolo": (make_yolo, (1, 2))}[source]
    dataset = open_data(f"{source}:{make(tmp_path)}")
    description = TASKS["detect"].describe(dataset, load_recipe("detect").task)
    assert description.numbers == expected and description.class_names == dataset.class_names


def test_recipes_of_the_reference_and_small_ones_are_made_of_what_is_there():
    for name in list_recipes():
        if name.startswith(("coco-", "detect")) and "pose" not in name:
            recipe = load_recipe(name)
            assert recipe.task.name == "detect", name
    spared = load_recipe("coco-maskrcnn-xtiny").optimizer
    network = build_network_for(Architecture(**{**MINI, "num_classes": 3}, head={"name": "retinanet", "neck": 16}))
    groups = build_optimizer(network, spared).param_groups
    names = {id(one): name for name, one in network.named_parameters()}
    free = {names[id(one)] for group in groups if not group["weight_decay"] for one in group["params"]}
    assert {name for name in names.values() if "norm" in name or "scale" in name} == free
    assert {"backbone.blocks1.0.attn.sigma.scale", "backbone.blocks1.0.layer_scale_1"} <= free
