"""Every task: it trains in seconds, and what it trained is measured, asked, exported, reported, explained, resumed."""

import csv
import importlib.util
import json

import numpy as np
import pytest
import torch
import yaml
from conftest import MINI
from PIL import Image
from safetensors.torch import load_file
from small_model import need

import moganet
from moganet.engine.explain import explain
from moganet.engine.export import export
from moganet.errors import ConfigError, DataError, MogaNetError, WeightsError
from moganet.inference.export import EXPORTERS
from moganet.inference.seeing import see
from moganet.progress import no_progress
from moganet.tasks import TASKS
from moganet.tasks.module import TaskModule
from moganet.tasks.recipes import DEFAULT, load_recipe
from moganet.tasks.task import Asked

RECIPES = {
    "classify": "finetune",
    "multilabel": "multilabel",
    "segment": "segment",
    "detect": "detect",
    "pose": "pose",
}  # the recipe that trains photographs of each task
NUMBERS = ("share", "probability", "score")  # what tells how much, or how sure, each thing in an answer is
UNEXPLAINED = {"detect": "not explained", "pose": "does not explain places"}
OTHERS = [to for to in EXPORTERS if to != "openvino"]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SMALL = {
    **{f"network.{key}": list(value) for key, value in MINI.items() if key != "num_classes"},
    **{"network.stem_stride": 1, "start.model": "none", "preprocessing.size": 16, "preprocessing.crop_fraction": 1},
    **{
        "data.batch_size": 16,
        "data.validation": 24,
        "optimizer.lr": 1e-2,
        "optimizer.layer_decay": 1,
        "trainer.precision": "f32",
        "trainer.ema": None,
    },
    **{"trainer.max_epochs": 8, "augment.crop": "none", "augment.color_jitter": [0, 0, 0], "logger": "csv"},
    **{"trainer.validate_every": 4, "data.workers": 0},
}

OF_TASK = {  # what the images of a task need beside that
    "segment": {
        "augment.crop": "scaled",
        "augment.crop_size": 16,
        "augment.zoom": [1, 1],
        "augment.hflip": 0,
        "augment.distort": 0,
        "loss.class_weights": None,
        "task.head.neck": 16,
        "task.head.channels": 16,
        "trainer.early_stop": None,
    },
    "detect": {
        "preprocessing.size": 32,
        "network.stem_stride": 2,
        "data.batch_size": 4,
        "data.validation": 12,
        "data.by_shape": False,
        "augment.short_side": None,
        "augment.hflip": 0,
        "augment.distort": 0,
        "task.head": {"name": "retinanet", "neck": 16, "convs": 1, "scale": 2.5},
        "trainer.max_epochs": 10,
        "trainer.validate_every": 5,
        "trainer.early_stop": None,
    },
    "pose": {
        "augment.hflip": 0,
        "augment.translate": 0,
        "augment.half_body": 0,
        "augment.zoom": [1, 1],
        "augment.rotation": 0,
        "task.head.channels": [16, 16, 16],
        "trainer.early_stop": None,
    },
}


def small(task):
    return SMALL | OF_TASK.get(task, {})


def paint(folder, chosen):
    """Paint an image of each set of colours, a bar each, and give the files."""
    folder.mkdir()
    random, files = np.random.RandomState(0), []
    for number, names in enumerate(chosen):
        pixels = random.randint(60, 120, (16, 16, 3)).astype(np.uint8)
        for name in names:
            pixels[4 * list(COLOURS).index(name) :][:4] = COLOURS[name]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        files.append(f"{number}.png")
    return files


def make_data(task, folder):
    random, names = np.random.RandomState(1), list(COLOURS)
    if task in OF_PLACES:
        return OF_PLACES[task](folder)
    several = task != "classify"
    chosen = [[n for n in names if random.rand() < 0.4] if several else [names[i % 3]] for i in range(88)]
    files = paint(folder, chosen)
    rows = [("path", "label"), *zip(files, ["|".join(one) for one in chosen], strict=True)]
    with open(folder / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return f"table:{folder / 't.csv'}" + ("?labels=label" if several else "")


def make_masks(folder):
    """Paint bars of colours, and masks of them in which the rest is void."""
    (folder / "masks").mkdir(parents=True)
    random, names = np.random.RandomState(1), sorted(COLOURS)
    chosen = [[names[i] for i in range(3) if random.rand() < 0.7] or ["red"] for _ in range(48)]
    for file, some in zip(paint(folder / "images", chosen), chosen, strict=True):
        mask = np.full((16, 16), 255, np.uint8)
        for name in some:
            mask[4 * list(COLOURS).index(name) :][:4] = names.index(name)
        Image.fromarray(mask).save(folder / "masks" / file)
    (folder / "classes.txt").write_text("\n".join(names))
    return f"masks:{folder}"


def make_boxes(folder):
    """Paint squares of colours, and write COCO's JSON of them, with gaps between the numbers of the classes."""
    (folder / "images").mkdir(parents=True)
    random, names = np.random.RandomState(1), sorted(COLOURS)
    images, things = [], []
    for number in range(48):
        pixels, corners = random.randint(60, 120, (32, 32, 3)).astype(np.uint8), random.permutation(4)
        for i, name in enumerate(names):
            if random.rand() < 0.6:
                side, (top, left) = (
                    random.randint(9, 13),
                    16 * np.array(divmod(corners[i], 2)) + random.randint(0, 4, 2),
                )
                pixels[top : top + side, left : left + side] = COLOURS[name]
                box = [int(left), int(top), int(side), int(side)]
                one = {"id": len(things) + 1, "image_id": 100 + number, "category_id": 3 * i + 2}
                things.append({**one, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": 100 + number, "file_name": f"{number}.png", "width": 32, "height": 32})
    categories = [{"id": 3 * i + 2, "name": name} for i, name in enumerate(names)]
    (folder / "train.json").write_text(json.dumps({"images": images, "annotations": things, "categories": categories}))
    return f"coco:{folder}"


def make_points(folder):
    """Paint bars of colours, each with a bright end, which is a key point."""
    random, names = np.random.RandomState(1), sorted(COLOURS)
    entries, annotations, files = [], [], paint(folder, [names] * 48)
    for number, file in enumerate(files, 1):
        ends = random.randint(1, 15, 3)
        pixels = np.array(Image.open(folder / file))
        points = [[float(end), 4.0 * list(COLOURS).index(name) + 1, 2] for name, end in zip(names, ends, strict=True)]
        for x, y, _ in points:
            pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 255
        Image.fromarray(pixels).save(folder / file)
        entries.append({"id": number, "file_name": file, "width": 16, "height": 16})
        one = {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, 16, 16], "area": 256, "iscrowd": 0}
        annotations.append({**one, "keypoints": np.ravel(points).tolist()})
    category = {"id": 1, "name": "bars", "keypoints": names}
    (folder / "bars.json").write_text(
        json.dumps({"images": entries, "annotations": annotations, "categories": [category]})
    )
    return f"keypoints:{folder}"


OF_PLACES = {"segment": make_masks, "detect": make_boxes, "pose": make_points}


def said(row):
    """Give the numbers by name of what a row lists: classes, objects, or the key points of its one pose."""
    row = json.loads(json.dumps(row, default=lambda part: part.plain()))
    found = row["poses"][0]["points"] if "poses" in row else row.get("objects", row.get("classes"))
    return [(one["name"], next(one[key] for key in NUMBERS if key in one)) for one in found]


def images_of(run):
    folder = run.parent / "images"
    return folder / "images" if (folder / "images").is_dir() else folder


@pytest.fixture(scope="module", params=TASKS)
def run(request, tmp_path_factory):
    """Train a task on painted images for a few seconds."""
    folder = tmp_path_factory.mktemp(request.param)
    data = make_data(request.param, folder / "images")
    moganet.train(RECIPES[request.param], data=data, overrides=small(request.param), out=folder / "run")
    return folder / "run"


@pytest.fixture
def task(run):
    return TASKS[moganet.load(run).config.task.name]


def test_what_the_network_learns_is_measured(run, task):
    result = moganet.evaluate(run, split="val")
    assert result[task.monitor.name] > 0.4 and task.say(result.plain()) and result.headline()
    again = json.loads(json.dumps(result.plain(), allow_nan=False, default=lambda part: part.plain()))
    assert task.evaluation.model_validate(again) == result
    table = result.table()
    assert len(table.rows) == 3 and {len(row) for row in table.rows} == {len(table.heads)} and list(result.lines())
    trained = moganet.load(run).config.provenance["validation"][task.monitor.name]
    assert result[task.monitor.name] == pytest.approx(trained, abs=1e-6)


def test_answers_are_rows_of_json_and_of_csv_and_a_picture(run, task, tmp_path):
    files = [str(images_of(run) / f"{i}.png") for i in range(5)]
    asked = moganet.predict(run, files, top_k=3, csv_file=tmp_path / "p.csv", grid=tmp_path / "g.png")
    assert [row.file for row in asked.predictions] == files and (tmp_path / "g.png").stat().st_size
    for row in asked.predictions:
        plain = json.loads(json.dumps(row.plain(), default=lambda part: part.plain()))
        things = said(plain)
        assert all(name in COLOURS for name, _ in things) and row.text()
        least, most = (-0.5, 1.5) if task.takes_boxes else (0, 1)  # a heat map's height is no probability
        assert all(least <= number <= most for _, number in things) and (task.by_image or len(things) == 3)
    with open(tmp_path / "p.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert tuple(lines[0]) == task.columns and {line[0] for line in lines[1:]} == set(files)
    known = moganet.predict(run, data=load_recipe(run / "recipe.yaml").data.source, limit=4)
    assert all("truth" in row for row in known.predictions)


def test_a_right_answer_is_the_text_of_its_truth(run, task):
    if not task.judges:
        pytest.skip("its answers are right of each pixel, not of an image")
    predictor, data = moganet.load(run, "eager"), moganet.open_data(load_recipe(run / "recipe.yaml").data.source)
    answers = see(predictor, data, ("train", data.split("train")), (None, 0, no_progress))
    outputs, names = {task.outputs[0]: answers.outputs.numpy()}, predictor.class_names
    words = [task.words(one, names) for one in task.answers(outputs, predictor.config.task.unguarded(), Asked())]
    truths = [answers.split.targets.text(place, names) for place in answers.places.tolist()]
    right = task.judge(answers.outputs, answers.targets, predictor.config.task).right
    assert [said == truth for said, truth in zip(words, truths, strict=True)] == right.tolist() and right.any()


# A task's outputs go through each format as those of classes do, which test_exporters.py exports.
@pytest.mark.parametrize("to", ["openvino", *(pytest.param(to, marks=pytest.mark.slow) for to in OTHERS)])
def test_every_format_answers_as_the_model(to, run, task, tmp_path):
    need(to)
    if task.name == DEFAULT:
        pytest.skip("test_exporters.py does it")
    made = export(run, to, tmp_path / f"m{EXPORTERS[to].SUFFIX}", raw=not task.by_image)
    files = [images_of(run) / f"{i}.png" for i in range(6)]
    ours, theirs = (moganet.predict(model, files, top_k=3).predictions for model in (run, made.out))
    for one, other in zip(ours, theirs, strict=True):
        lists = [said(row.plain()) for row in (one, other)]
        assert [name for name, _ in lists[1]] == [name for name, _ in lists[0]] or not task.by_image
        assert dict(lists[1]) == pytest.approx(dict(lists[0]), abs=0.02)


@pytest.mark.parametrize("answers", ["of pixels", pytest.param("of images", marks=pytest.mark.slow)])
def test_int8_is_calibrated_compared_and_kept_where_it_decides_alike(run, task, answers, tmp_path):
    need("openvino")
    if task.by_image != (answers == "of pixels"):
        pytest.skip("its answers are of the other kind")
    if importlib.util.find_spec("nncf") is None or task.name == DEFAULT:
        pytest.skip("nncf is not installed (extra 'export'), or test_exporters.py does it")
    data = load_recipe(run / "recipe.yaml").data.source
    try:
        made = export(run, "openvino", tmp_path / "m.xml", precision="int8", data=data)
    except WeightsError as error:  # a network this small may lose more than is allowed
        assert "of the tolerance" in str(error) and not (tmp_path / "m.xml").exists()
        return
    assert made.agreement >= 0.95 and made[task.monitor.name] > 0.3
    assert moganet.verify(made.out).ok


def test_the_page_has_the_tasks_sections(run, task, tmp_path):
    result = moganet.write_report(run, out=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert (
        task.monitor.name in result
        and result.headline
        and "Classes" in page
        and (task.by_image or "Reliability" in page)
    )
    assert not any(part.part == "explanation" for part in result.left_out)
    assert moganet.load(run).config.task.class_names == tuple(sorted(COLOURS))


def test_a_class_is_explained_by_its_name(run, task):
    image = images_of(run) / "0.png"
    if task.name in UNEXPLAINED:
        with pytest.raises(ConfigError, match=UNEXPLAINED[task.name]):
            explain(run, [image], "gradcam")
        return
    if task.by_image:
        (entry,) = explain(run, [image], "gradcam", region=[0, 0.5, 1, 0.25])["images"]
        assert entry["map"].shape == (16, 16) and entry["target"] in COLOURS
        with pytest.raises(ConfigError, match=r"orders shows the branches of a MogaNet that classifies.*or gradcam$"):
            explain(run, [image], "orders")
    found = explain(run, [image], "occlusion", target="green")
    (entry,) = found["images"]
    assert entry["target"] == "green" and 0 <= entry["probability"] <= 1


def test_a_stopped_run_goes_on_to_the_same_weights(run, tmp_path, monkeypatch):
    data = load_recipe(run / "recipe.yaml").data.source
    name = moganet.load(run).config.task.name
    recipe, overrides = RECIPES[name], small(name)
    original, steps = TaskModule.training_step, iter(range(1, 100))

    def step(self, *arguments):
        if next(steps) == 6:
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(BaseException):  # noqa: B017 (however it is stopped)
        patch.setattr(TaskModule, "training_step", step)
        moganet.train(recipe, data=data, overrides={**overrides, "trainer.save_every": 1e-9}, out=tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    moganet.train(recipe, data=data, overrides=overrides, out=tmp_path / "run", resume=True)
    whole, resumed = (load_file(folder / "last.safetensors") for folder in (run, tmp_path / "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    ours, theirs = (moganet.load(folder / "last.safetensors").config.task for folder in (run, tmp_path / "run"))
    assert ours == theirs


def test_recipe_and_model_file_come_back_as_they_were(run, tmp_path, task):
    recipe = load_recipe(run / "recipe.yaml")
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").changed(name=recipe.name) == recipe
    assert yaml.safe_load(recipe.to_yaml())["task"]["name"] == task.name
    own = moganet.load(run).config
    for out in ("hub", "copy.safetensors") if own.architecture.head is None else ("copy.safetensors",):
        moganet.convert(run, tmp_path / out)
        other = moganet.load(tmp_path / out).config
        assert other.task == own.task and other.sha256 == own.sha256
    other = moganet.load(run, num_classes=5).config.task
    assert other == TASKS[task.name].description(name=task.name, class_names=other.class_names)


def test_a_set_of_another_task_is_refused_with_what_to_do(run, task, tmp_path):
    data = make_data("classify", tmp_path / "other") + ("?labels=label" if task.name == "classify" else "")
    for other in (data, make_data("classify" if task.by_image else "segment", tmp_path / "places")):
        with pytest.raises(DataError, match="another recipe"):
            moganet.evaluate(run, data=other)


def test_interactions_are_of_one_true_class(run, task):
    if task.rewards:
        pytest.skip("they are tested in tests/interactions")
    with pytest.raises(ConfigError, match="one"):
        moganet.interaction_curves(run, budget=1)


@pytest.mark.parametrize("others", ["the next", pytest.param("all", marks=pytest.mark.slow)])
def test_training_goes_on_from_every_other_task(run, task, others, tmp_path):
    names = list(TASKS)
    following = names[(names.index(task.name) + 1) % len(names)]
    for other in names if others == "all" else [following]:
        data = make_data(other, tmp_path / other)
        overrides = {**small(other), "trainer.max_epochs": 1}
        del overrides["start.model"]
        try:
            moganet.train(RECIPES[other], data=data, overrides=overrides, start=str(run), out=tmp_path / f"run-{other}")
        except MogaNetError as error:
            raise AssertionError(f"{task.name} to {other}") from error
        assert moganet.load(tmp_path / f"run-{other}").config.task.name == other
