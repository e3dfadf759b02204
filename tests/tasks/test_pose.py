"""Key points: the reference's crops, maps and losses, COCO's own figures, and what is trained, answered and refused."""

import csv
import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from dense_files import filled, golden_dense, picture, scene, shapes
from PIL import Image
from safetensors.torch import save_file
from stick_figures import make_people

import moganet
from moganet.batch.run import batch
from moganet.config import Architecture, Preprocessing
from moganet.data.box_crop import crops_of, moved, part_of, parts_of, warp
from moganet.data.skeletons import COCO, skeleton_of
from moganet.engine.report import write_report
from moganet.errors import ConfigError, DataError, WeightsError
from moganet.inference.together import as_one
from moganet.models.build import build_blank, build_network_for
from moganet.network.cost import count_parameters, measure
from moganet.network.dense.outline import outline_of
from moganet.network.dense.pyramid import maps_of
from moganet.network.fuse import fastest
from moganet.tasks import TASKS
from moganet.tasks.pose.description import PoseLoss
from moganet.tasks.pose.heatmaps import decoded, in_image, mirrored_back
from moganet.tasks.pose.losses import HeatmapLoss, bells
from moganet.tasks.pose.oks import FIGURES, Poses, Truth, annotations_of, results_of
from moganet.tasks.pose.oks import measure as figures_of

RELATIVE = 1e-5  # of a tensor's largest value
SIZES = [(256, 192), (384, 288)]


def own(size):
    return Preprocessing(size=size, crop_mode="box", crop_fraction=0.8, interpolation="bilinear", antialias=False)


def apart(given, expected):
    given, expected = (np.asarray(torch.as_tensor(one).detach()) for one in (given, expected))
    return np.abs(given - expected).max() / np.abs(expected).max()


def golden(size):
    expected, told = golden_dense(f"pose_tiny_{size[0]}x{size[1]}")
    return {name: tensor.numpy() for name, tensor in expected.items()}, told["case"]


@pytest.fixture(scope="module")
def tiny():
    network = build_network_for(Architecture(name="moganet_tiny", head="heatmap", num_classes=17)).eval()
    network.load_state_dict(filled(shapes("pose_tiny")))
    return network


@pytest.mark.parametrize("size", SIZES)
def test_crops_are_opencvs_very_bytes(size):
    expected, case = golden(size)
    image = picture(case["picture_height"], case["picture_width"], case["picture_seed"])
    crops = crops_of(image, expected["boxes"], own(size))
    assert (crops[:, :, ::8, ::8].transpose(0, 2, 3, 1) == expected["crop"]).all()
    parts = parts_of(expected["boxes"], own(size))
    assert np.abs(parts[:, :2] - expected["center"]).max() < 1e-4
    assert np.abs(parts[:, 2:] / 200 - expected["scale"]).max() < 1e-6
    for box, points, there in zip(
        expected["boxes"], expected["keypoints_gt"], expected["keypoints_gt_crop"], strict=True
    ):
        marked = points[:, 2] > 0
        assert np.abs(moved(points[:, :2], part_of(box, own(size)).matrix()) - there)[marked].max() < 1e-3


def test_what_lies_outside_of_an_image_is_black():
    image = np.full((3, 20, 30), 200, np.uint8)
    shift = np.array([[1.0, 0, 100], [0, 1, 0]])
    assert not warp(image, shift, (20, 30)).any()
    assert (warp(image, np.array([[1.0, 0, 10], [0, 1, 0]]), (20, 30))[:, :, 10:] == 200).all()
    assert not warp(image, np.array([[1e-9, 0, 0], [0, 1e-9, 0]]), (4, 4))[:, 1:].any()


@pytest.mark.parametrize("size", [SIZES[0], pytest.param(SIZES[1], marks=pytest.mark.slow)])
def test_heat_maps_key_points_and_losses_are_the_references(size, tiny):
    expected, case = golden(size)
    x = scene(*size, case["input_seed"], len(expected["boxes"]))
    with torch.no_grad():
        maps, heatmaps = maps_of(tiny.backbone, x), tiny(x).numpy()
        turned, fused = tiny(x.flip(3)).numpy(), fastest(tiny)(x)
    for i, y in enumerate(maps, 1):
        assert apart(y.mean((2, 3)), expected[f"stage{i}.mean"]) < RELATIVE
    assert apart(heatmaps[:, :, ::4, ::4], expected["heatmap"]) < RELATIVE and apart(fused, heatmaps) < RELATIVE
    parts, side = parts_of(expected["boxes"], own(size)), heatmaps.shape[2:]
    assert np.abs(in_image(decoded(heatmaps), parts, side) - expected["plain.keypoints"]).max() < 1e-3
    both = (heatmaps + mirrored_back(turned, COCO.mirrored)) / 2
    assert apart(both[:, :, ::4, ::4], expected["flip.heatmap"]) < RELATIVE
    assert np.abs(in_image(decoded(both), parts, side) - expected["flip.keypoints"]).max() < 1e-3
    marked = [
        moved(p[:, :2], part_of(b, own(size)).matrix())
        for p, b in zip(expected["keypoints_gt"], expected["boxes"], strict=True)
    ]
    places = torch.from_numpy(np.concatenate([marked, expected["keypoints_gt"][..., 2:]], 2).astype(np.float32))
    target, weight = bells(places, size, side, 2.0)
    target *= weight[..., None, None]
    assert (weight.numpy() == expected["target_weight"][..., 0]).all()
    assert ((target.numpy()[:, :, 1::3, 1::3] > 0) == (expected["target"] > 0)).all()
    assert apart(target[:, :, 1::3, 1::3], expected["target"]) < RELATIVE
    loss = HeatmapLoss(PoseLoss(), size)(tiny(x), places)
    assert loss.item() == pytest.approx(expected["loss.heatmap_loss"].item(), rel=RELATIVE)
    tiny.zero_grad()
    loss.backward()
    for name in (key.removeprefix("grad_norm.") for key in expected if key.startswith("grad_norm.")):
        gradients = [p.grad.double().norm() for p in tiny.get_submodule(name).parameters() if p.grad is not None]
        assert torch.stack(gradients).norm().item() == pytest.approx(expected[f"grad_norm.{name}"].item(), rel=RELATIVE)


@pytest.mark.parametrize(
    ("variant", "parameters"), [("xtiny", 5_652_555), ("tiny", 8_091_965), ("small", 29_022_884), ("base", 47_407_684)]
)
def test_parameters_are_exact(variant, parameters):
    assert (
        outline_of(Architecture(name=f"moganet_{variant}", head="heatmap", num_classes=17), (256, 192)).parameters
        == parameters
    )


@pytest.mark.parametrize("head", ["heatmap", {"name": "heatmap", "channels": [8, 4]}])
def test_an_outline_is_what_is_measured(head):
    architecture = Architecture(name="moganet_nano", head=head, num_classes=5)
    network = build_blank(architecture)
    found, (layers, stages) = outline_of(architecture, (64, 48)), measure(network, 3, (64, 48))
    assert found.layers == layers and found.stages == stages and found.parameters == count_parameters(network)


@pytest.mark.parametrize("seed", range(6))
def test_figures_are_pycocotools(seed):
    pycoco = pytest.importorskip("pycocotools.coco").COCO
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval
    pytest.importorskip("faster_coco_eval")
    random, joints = np.random.RandomState(seed), 17 if seed % 2 == 0 else 5
    sigmas = np.array(COCO.sigmas) if joints == 17 else np.full(joints, 0.2)
    number = 40
    images = np.sort(random.randint(0, 12, number))
    boxes = np.column_stack([random.uniform(0, 300, (number, 2)), random.uniform(10, 250, (number, 2))])
    points = np.concatenate(
        [
            boxes[:, None, :2] + random.rand(number, joints, 2) * boxes[:, None, 2:],
            random.randint(0, 3, (number, joints, 1)),
        ],
        2,
    )
    points[:4, :, 2] = 0  # things of which no key point is marked
    crowds = random.rand(number) < 0.1
    truth = Truth(images, boxes, points, 0.5 * boxes[:, 2] * boxes[:, 3], crowds)
    chosen = random.permutation(number)[:34]
    noise = random.standard_normal((34, joints, 2)) * random.uniform(0, 14, (34, 1, 1))
    found = np.concatenate([points[chosen, :, :2] + noise, random.rand(34, joints, 1)], 2)
    given = np.column_stack([boxes[chosen], random.rand(34)])
    poses = Poses(images[chosen], found, given)
    ours = figures_of(truth, poses, sigmas)
    theirs = pycoco()
    theirs.dataset = annotations_of(truth)
    theirs.createIndex()
    judge = evaluation(theirs, theirs.loadRes(results_of(poses, sigmas)), "keypoints")
    judge.params.kpt_oks_sigmas = sigmas
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    expected = {name: None if value < 0 else value for name, value in zip(FIGURES, judge.stats, strict=True)}
    assert 0.02 < ours["ap"] < 0.98
    assert {name: value is None for name, value in ours.items()} == {
        name: value is None for name, value in expected.items()
    }
    assert [ours[name] or 0 for name in FIGURES] == pytest.approx([expected[name] or 0 for name in FIGURES], abs=1e-6)


def test_figures_of_little_are_told():
    pytest.importorskip("faster_coco_eval")
    nothing = np.zeros((0, 17, 3))
    empty = Truth(np.zeros(0, int), np.zeros((0, 4)), nothing, np.zeros(0), np.zeros(0, bool))
    assert set(figures_of(empty, Poses(np.zeros(0, int), nothing, np.zeros((0, 5))), COCO.sigmas).values()) == {None}
    one = Truth(
        np.zeros(1, int), np.array([[0, 0, 60, 60.0]]), np.full((1, 17, 3), 2.0), np.array([2000.0]), np.zeros(1, bool)
    )
    found = figures_of(one, Poses(np.zeros(0, int), nothing, np.zeros((0, 5))), COCO.sigmas)
    assert found["ap"] == found["ap_medium"] == found["ar"] == 0 and found["ap_large"] is None


def test_left_and_right_are_told_by_names():
    assert skeleton_of(COCO.names) == COCO
    made = skeleton_of(("Left Eye", "Right Eye", "l_paw", "r_paw", "tail", "Hand.L", "Hand.R", "ball"))
    assert made.mirrored == (1, 0, 3, 2, 4, 6, 5, 7) and len(set(made.sigmas)) == 1


# Files of mmpose


def small(joints=17, channels=(8, 8, 8)):
    architecture = Architecture(name="moganet_nano", head={"name": "heatmap", "channels": channels}, num_classes=joints)
    return filled({name: torch.empty(t.shape) for name, t in build_blank(architecture).state_dict().items()})


CONFIG = """
data_cfg = dict(image_size=[96, 128], heatmap_size=[24, 32])
model = dict(type='TopDown', test_cfg=dict(flip_test=True, post_process='default', shift_heatmap=True))
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='TopDownGetBboxCenterScale', padding=1.5),
    dict(type='NormalizeTensor', mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2])]
data = dict(test=dict(dataset_info=dict(keypoint_info={
    0: dict(name='snout', id=0, color=[1, 2, 3], type='upper', swap=''),
    1: dict(name='paw_a', id=1, color=[1, 2, 3], type='lower', swap='paw_b'),
    2: dict(name='paw_b', id=2, color=[1, 2, 3], type='lower', swap='paw_a')},
    skeleton_info={0: dict(link=('snout', 'paw_a'), id=0, color=[0, 1, 2])}, sigmas=[0.1, 0.2, 0.2])))
"""


@pytest.mark.parametrize(
    ("name", "make", "size"),
    [
        ("x.pth", lambda state: {"meta": {"epoch": 1}, "state_dict": state, "optimizer": {}}, (256, 192)),
        ("moganet_t_coco_384x288.pth", lambda state: {"state_dict": state}, (384, 288)),
        ("x.pth", lambda state: {"state_dict": {f"module.{k}": t for k, t in state.items()}}, (256, 192)),
        ("x.pth", lambda state: {"state_dict": {f"ema.{k}": t for k, t in state.items()}}, (256, 192)),
        ("x.pth", lambda state: {k.replace("keypoint_head.", "head."): t for k, t in state.items()}, (256, 192)),
        ("x.safetensors", lambda state: state, (256, 192)),
    ],
)
def test_a_published_file_is_a_model_of_key_points(name, make, size, tmp_path):
    state = small()
    path = tmp_path / name
    save_file(make(state), path) if path.suffix == ".safetensors" else torch.save(make(state), path)
    predictor = moganet.load(path, runtime="eager")
    assert predictor.class_names == COCO.names and predictor.config.preprocessing == own(size)
    x = scene(64, 96, 3, 2)
    found = predictor.outputs(x)
    assert {key: values.shape for key, values in found.items()} == {"heatmaps": (2, 17, 16, 24)}
    plain = build_network_for(predictor.config.architecture).eval()
    plain.load_state_dict(state)
    with torch.no_grad():
        assert apart(found["heatmaps"], plain(x)) < RELATIVE


def test_key_points_and_how_it_was_tested_are_read_and_written_again(tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    torch.save({"meta": {"config": CONFIG}, "state_dict": small(3)}, tmp_path / "x.pth")
    config = moganet.load(tmp_path / "x.pth", runtime="eager").config
    assert config.class_names == ("snout", "paw_a", "paw_b") and "guess" not in caplog.text
    assert config.task.skeleton == ((*config.class_names,), ((0, 1),), (0, 2, 1), (0.1, 0.2, 0.2))
    assert config.preprocessing.size == (128, 96) and config.preprocessing.mean == (0.5, 0.5, 0.5)
    assert config.preprocessing.crop_fraction == pytest.approx(1 / 1.5)
    for name in ("y.pth", "y.safetensors"):
        moganet.convert(tmp_path / "x.pth", tmp_path / name)
        again = moganet.load(tmp_path / name, runtime="eager").config
        assert again.task == config.task and again.preprocessing == config.preprocessing
    kept = torch.load(tmp_path / "y.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(kept[key], tensor) for key, tensor in small(3).items()) and kept.keys() == small(3).keys()


def test_what_a_file_computes_otherwise_is_said(tmp_path, caplog):
    udp = CONFIG.replace("post_process='default'", "post_process='unbiased'")
    torch.save({"meta": {"config": udp}, "state_dict": small(3)}, tmp_path / "x.pth")
    moganet.load(tmp_path / "x.pth", runtime="eager")
    assert "post_process='unbiased'" in caplog.text
    bad = {name: tensor[:, :, :2, :2] if "deconv_layers.0" in name else tensor for name, tensor in small().items()}
    torch.save({"state_dict": {name: t.contiguous() for name, t in bad.items()}}, tmp_path / "y.pth")
    with pytest.raises(WeightsError, match="4x4"):
        moganet.load(tmp_path / "y.pth", runtime="eager")


# Training and answers


@pytest.mark.slow
def test_eight_drawn_people_are_learned_by_heart(tmp_path):
    pytest.importorskip("faster_coco_eval")
    data = f"keypoints:{make_people(tmp_path / 'set')}"
    moganet.train("pose-mini", data=data, overrides={"report": False, "logger": "csv"}, out=tmp_path / "run")
    result = moganet.evaluate(tmp_path / "run", split="val")
    assert result.ap >= 0.9 and result.poses == 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Give a small network with drawn weights as a file of mmpose's."""
    folder = tmp_path_factory.mktemp("pose")
    torch.save({"state_dict": small(), "meta": {"config": "data_cfg = dict(image_size=[48, 64])"}}, folder / "m.pth")
    make_people(folder / "set", images=2)
    return folder / "m.pth"


def test_poses_are_answered_in_boxes_and_drawn(model, tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    folder = model.parent / "set" / "val2017"
    files = [str(folder / f"{number:012d}.png") for number in (1, 2)]
    with open(tmp_path / "boxes.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "x", "y", "w", "h", "score"), (files[0], 5, 5, 60, 90, 0.5), (files[0], 60, 9, 70, 99, 1)]
        )
    to = {
        "out": tmp_path / "out",
        "coco": tmp_path / "coco.json",
        "csv_file": tmp_path / "p.csv",
        "save_images": tmp_path / "drawn",
    }
    found = moganet.predict(model, files, boxes=str(tmp_path / "boxes.csv"), runtime="eager", **to)
    first, second = found.predictions
    assert [pose.box for pose in first.poses] == [(5, 5, 60, 90), (60, 9, 70, 99)] and second.poses == ()
    assert "1 image of 2 have no box" in caplog.text and "no pose" in second.text()
    assert len(first.poses[0].points) == 17 and first.poses[0].box_score == 0.5
    lines = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
    assert tuple(lines[0]) == TASKS["pose"].columns and len(lines) == 1 + 2 * 17
    assert {one["image_id"] for one in json.loads((tmp_path / "coco.json").read_text())} == {1}
    drawn = np.asarray(Image.open(tmp_path / "out" / "pictures" / f"{1:012d}.jpg")).astype(int)
    assert np.abs(drawn - np.asarray(Image.open(files[0]).convert("RGB"))).max() > 100
    kept = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(kept["annotations"]) == 2 and kept["categories"][0]["keypoints"] == list(COCO.names)
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 2
    # In Python the same, and of whole images.
    predictor = moganet.load(model, runtime="eager")
    again, none = predictor(files, boxes=[[[5, 5, 60, 90], [60, 9, 70, 99]], []])
    assert again.points[0] == pytest.approx(np.array([[p.x, p.y, p.score] for p in first.poses[0].points]))
    assert len(none) == 0 and predictor(files)[0].boxes.tolist() == [[0, 0, 200, 160, 1]]
    whole = moganet.predict(predictor, files, boxes="whole").predictions[0]
    assert whole.poses[0].box == (0, 0, 200, 160)


def test_the_flip_test_is_the_references(model):
    predictor, image = moganet.load(model, runtime="eager"), picture(60, 80, 1)
    joint = as_one(predictor, tta="flip")
    x = predictor.preprocess(torch.from_numpy(image))
    plain, turned = (predictor.outputs(one)["heatmaps"] for one in (x, x.flip(3)))
    expected = (plain + mirrored_back(turned, COCO.mirrored)) / 2
    assert joint.outputs(x)["heatmaps"] == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Give a small detector with drawn weights, of people and dogs, as a file of mmdet's."""
    head = {"name": "retinanet", "neck": 8, "convs": 1}
    blank = build_blank(Architecture(name="moganet_nano", head=head, num_classes=2)).state_dict()
    config = "model = dict(test_cfg=dict(score_thr=0.001, max_per_img=6))\n"
    config += "test_pipeline = [dict(type='Resize', img_scale=(96, 64), keep_ratio=True)]\n"
    state = filled({name: torch.empty(t.shape) for name, t in blank.items()})
    state["bbox_head.retina_cls.bias"].copy_(torch.tensor([0.0, 1] * 9))  # so that it is sure enough of some
    path = tmp_path_factory.mktemp("detector") / "d.pth"
    torch.save({"meta": {"config": config, "CLASSES": ("dog", "Person")}, "state_dict": state}, path)
    return path


def test_a_detector_says_where_people_are(model, detector, tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    folder = model.parent / "set" / "val2017"
    found = moganet.predict(detector, [folder], runtime="eager").predictions
    people = [[one for one in row.objects if one.name == "Person"] for row in found]
    assert all(people) and any(one.name == "dog" for row in found for one in row.objects)
    given = {"data": f"keypoints:{model.parent / 'set'}", "split": "val"}, {"files": [folder]}
    for what in given:
        asked = moganet.predict(model, boxes=str(detector), runtime="eager", **what)
        for own, row in zip(people, asked.predictions, strict=True):
            assert [pose.box_score for pose in row.poses] == pytest.approx([one.score for one in own])
            left, top, right, bottom = np.array([one.box for one in own]).T
            expected = np.stack([left, top, right - left, bottom - top], 1)
            assert np.array([pose.box for pose in row.poses]) == pytest.approx(expected, abs=1e-4)
    assert "the boxes of 'Person' that" in caplog.text
    again = moganet.predict(model, [folder], limit=1, boxes=moganet.load(detector, runtime="eager"), runtime="eager")
    assert again.predictions == asked.predictions[:1]
    for other, said in (("moganet_nano.digits", "task classify, which finds no boxes"), (model, "finds no boxes")):
        with pytest.raises(ConfigError, match=said):
            moganet.predict(model, [folder], boxes=str(other), runtime="eager")


def test_a_detector_of_other_things_is_refused(model, detector, tmp_path):
    content = torch.load(detector, weights_only=True)
    content["meta"]["CLASSES"] = ("dog", "cat")
    torch.save(content, tmp_path / "d.pth")
    with pytest.raises(ConfigError, match="dog, cat, and no person"):
        moganet.predict(model, [model.parent / "set" / "val2017"], boxes=tmp_path / "d.pth", runtime="eager")


@pytest.mark.parametrize(
    ("boxes", "said"),
    [([[[1, 2, 3]], []], "rows of x, y"), ([[[1, 2, 0, 4]], []], "sides above 0"), ([[]], "boxes are given for 1")],
)
def test_boxes_that_are_none_are_refused(boxes, said, model):
    files = sorted((model.parent / "set" / "val2017").glob("*.png"))
    with pytest.raises(DataError, match=said):
        moganet.load(model, runtime="eager")(files, boxes=boxes)


def test_what_is_not_for_key_points_is_refused_in_a_line(model, tmp_path):
    file = model.parent / "set" / "val2017" / f"{1:012d}.png"
    with pytest.raises(ConfigError, match="boxes are for models of key points"):
        moganet.predict("moganet_nano.digits", [file], boxes="whole")
    with pytest.raises(DataError, match="no such file"):
        moganet.predict(model, [file], boxes=str(tmp_path / "x.csv"), runtime="eager")
    with pytest.raises(ConfigError, match="sorted"):
        moganet.predict(model, [file], sort_into=tmp_path / "s", runtime="eager")
    with pytest.raises(ConfigError, match="no logits"):
        moganet.load(model, runtime="eager").logits(torch.zeros(1, 3, 64, 48))
    with pytest.raises(DataError, match="no key points"):
        moganet.evaluate(model, data="digits", runtime="eager")
    with pytest.raises(DataError, match="say pose"):
        moganet.evaluate("moganet_nano.digits", data=f"keypoints:{model.parent / 'set'}")


def test_evaluation_over_cocos_results_gives_the_same_figures(model, tmp_path):
    pycoco = pytest.importorskip("pycocotools.coco").COCO
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval
    data = f"keypoints:{model.parent / 'set'}"
    result = moganet.evaluate(model, data=data, split="val", runtime="eager")
    moganet.predict(model, data=data, split="val", coco=tmp_path / "coco.json", runtime="eager")
    known = pycoco(str(model.parent / "set" / "annotations" / "person_keypoints_val2017.json"))
    judge = evaluation(known, known.loadRes(str(tmp_path / "coco.json")), "keypoints")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    told = [-1 if result[name] is None else result[name] for name in FIGURES]
    assert told == pytest.approx(judge.stats.tolist(), abs=1e-6) and result.poses == 4


@pytest.fixture(scope="module")
def odd_set(model):
    """Give a set of three images, of which one shows nobody, whose ids are others than the numbers of their names."""
    root = model.parent / "odd"
    make_people(root, images=3)
    ids = {1: 2, 2: 3, 3: 1}
    for path in (root / "annotations").glob("*.json"):
        plain = json.loads(path.read_text())
        plain["images"] = [{**one, "id": ids[one["id"]]} for one in plain["images"]]
        marked = [one for one in plain["annotations"] if one["image_id"] != 3]
        plain["annotations"] = [{**one, "image_id": ids[one["image_id"]]} for one in marked]
        path.write_text(json.dumps(plain))
    return root


@pytest.mark.parametrize("form", ["results", "table", "detector", "whole", "in python", "partly marked"])
@pytest.mark.parametrize("empty", ["", "?empty=keep"])
def test_figures_in_given_boxes_are_cocos_of_predictions_in_them(form, empty, model, detector, odd_set, tmp_path):
    pycoco = pytest.importorskip("pycocotools.coco").COCO
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval
    known = pycoco(str(odd_set / "annotations" / "person_keypoints_val2017.json"))
    names = {one["id"]: one["file_name"] for one in known.dataset["images"]}
    moved = [0 if form == "partly marked" and one["image_id"] == 3 else 3 for one in known.dataset["annotations"]]
    marked = zip(known.dataset["annotations"], moved, strict=True)
    rows = [(one["image_id"], [x + by for x in one["bbox"]], 0.9) for one, by in marked]
    rows += [(1, [5, 5, 60, 90], 0.8), (2, [120, 20, 40, 60], 0.3)]  # nobody is there, or not just there
    boxes: Any = form
    if form in ("results", "partly marked"):
        boxes = tmp_path / "found.json"
        plain = [{"image_id": i, "category_id": 1, "bbox": box, "score": score} for i, box, score in rows]
        boxes.write_text(json.dumps([*plain, {"image_id": 2, "category_id": 3, "bbox": [0, 0, 9, 9], "score": 1}]))
    elif form == "table":
        boxes = tmp_path / "found.csv"
        lines = (",".join(map(str, (names[i], *box, score))) for i, box, score in rows)
        boxes.write_text("file,x,y,w,h,score\n" + "\n".join(lines) + "\n")
    elif form == "detector":
        boxes = detector
    elif form == "in python":
        wanted = [i for i in names if empty or any(one[0] == i for one in rows[:-2])]
        boxes = [[[*box, score] for i, box, score in rows if i == image] for image in wanted]
    given = {"data": f"keypoints:{odd_set}{empty}", "split": "val", "boxes": boxes, "runtime": "eager"}
    result = moganet.evaluate(model, **given)
    moganet.predict(model, **given, coco=tmp_path / "coco.json")
    judge = evaluation(known, known.loadRes(str(tmp_path / "coco.json")), "keypoints")
    judge.params.imgIds = [i for i in names if empty or i != 1]  # nobody is in the first
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert [-1 if result[name] is None else result[name] for name in FIGURES] == pytest.approx(judge.stats, abs=1e-6)
    assert result.num_images == (3 if empty else 2) and result.poses == 4
    assert result.boxes == ("the caller" if form == "in python" else str(boxes))
    told = list(result.lines())[-1]
    assert told.endswith("on whole images" if form == "whole" else f"in the boxes of {result.boxes}")
    if form not in ("detector", "whole"):  # whose boxes overlap those marked
        assert sum(one.marked for one in result.per_point) == sum(
            mark > 0 for one in known.dataset["annotations"] for mark in one["keypoints"][2::3]
        )


def test_boxes_are_not_for_models_that_see_whole_images():
    with pytest.raises(ConfigError, match="boxes are for models of key points"):
        moganet.evaluate("moganet_nano.digits", data="digits", boxes="whole")


def test_images_in_which_nobody_is_marked_are_trained_on_and_reported(odd_set, tmp_path):
    changes = {"logger": "csv", "report": False, "trainer.max_epochs": 1, "network.depths": [1, 1, 1, 1]}
    moganet.train("pose-mini", f"keypoints:{odd_set}?empty=keep", changes, out=tmp_path / "run")
    page = write_report(tmp_path / "run", split="val", runtime="eager", out=tmp_path / "report.html")
    assert page.num_images == 3 and "4 poses in" in page.headline


def test_an_empty_image_that_is_missing_is_named(odd_set, tmp_path):
    shutil.copytree(odd_set, tmp_path / "set")
    (tmp_path / "set" / "val2017" / f"{3:012d}.png").unlink()
    (tmp_path / "set" / "annotations" / "person_keypoints_train2017.json").unlink()
    assert len(moganet.open_data(f"keypoints:{tmp_path / 'set'}").splits["val"]) == 2
    with pytest.raises(DataError, match=r"there is no image 0+3\.png"):
        moganet.open_data(f"keypoints:{tmp_path / 'set'}?empty=keep")
    kept = moganet.open_data(f"keypoints:{tmp_path / 'set'}?empty=keep&missing=drop")
    assert len(kept.splits["val"]) == 2
    Image.new("RGB", (9, 7)).save(tmp_path / "set" / "val2017" / f"{3:012d}.png")
    with pytest.raises(DataError, match=r"0+3\.png has 9x7 pixels, where 200x160 stands"):
        moganet.open_data(f"keypoints:{tmp_path / 'set'}?empty=keep")


def test_a_batch_looks_in_the_boxes_that_predict_looks_in(model, detector, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = model.parent / "set" / "val2017"
    files = [str(folder / f"{number:012d}.png") for number in (1, 2)]
    table = tmp_path / "boxes.csv"
    table.write_text(f"file,x,y,w,h\n{files[0]},5,5,60,90\n{files[1]},60,9,70,99\n")

    def poses(named, boxes, out):
        batch(model, named, out, boxes=boxes, runtime="eager")
        found = [row for path in sorted(out.glob("*.parquet")) for row in parquet.read_table(path).to_pylist()]
        return {row["file"]: json.loads(json.dumps(row["poses"])) for row in found}

    for number, boxes in enumerate((str(table), str(detector))):
        expected = moganet.predict(model, files, boxes=boxes, runtime="eager").predictions
        if number == 0:
            poses(files[1], boxes, tmp_path / str(number))  # begun with the second image alone
        found = poses(files, boxes, tmp_path / str(number))
        assert found == {row.file: json.loads(json.dumps(row.plain()))["poses"] for row in expected}
    with pytest.raises(ConfigError, match="begun with boxes"):
        poses(files, "whole", tmp_path / "0")
    with pytest.raises(ConfigError, match="a batch takes a file"):
        poses(files, [[[5, 5, 60, 90]], []], tmp_path / "3")
