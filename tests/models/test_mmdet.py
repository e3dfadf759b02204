"""Whole detectors in mmdetection's layout: known by what they hold, said what is guessed, written key for key."""

import pytest
import torch
from dense_files import filled, golden_dense, published, scene
from safetensors.torch import save_file

import moganet
from moganet.config import Architecture
from moganet.data.coco80 import coco80
from moganet.errors import ConfigError, WeightsError
from moganet.models.build import build_blank, build_network_for
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import Checkpoint, architecture_of
from moganet.models.release import check_release
from moganet.network import VARIANTS
from moganet.network.releases import FINDERS
from moganet.training.start import start_from

SMALL = {
    "retinanet": {"name": "retinanet", "neck": 8, "convs": 2},
    "maskrcnn": {"name": "maskrcnn", "neck": 8, "hidden": 16},
    "fasterrcnn": {"name": "maskrcnn", "neck": 8, "hidden": 16, "masks": False},
    "cascade": {"name": "cascade", "neck": 8, "hidden": 16},
    "4conv1f": {"name": "cascade", "neck": 8, "hidden": 16, "convs": 4, "fcs": 1, "one_box": False},
}
CONFIG = """
model = dict(
    type='MaskRCNN',
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=300, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.1, nms=dict(type='nms', iou_threshold=0.6), max_per_img=50, mask_thr_binary=0.5)))
data = dict(test=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=(640, 480), flip=False, transforms=[
        dict(type='Resize', keep_ratio=True),
        dict(type='Normalize', mean=[127.5, 127.5, 127.5], std=[51.0, 51.0, 51.0], to_rgb=True),
        dict(type='Pad', size_divisor=32)])]))
"""


def small(head, classes=80, name="moganet_nano"):
    blank = build_blank(Architecture(name=name, head=SMALL[head], num_classes=classes))
    return filled({name: torch.empty(t.shape) for name, t in blank.state_dict().items()})


def written(path, content, **metadata):
    save_file(content, path, metadata) if path.suffix == ".safetensors" else torch.save(content, path)
    return path


def named(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def test_a_published_file_gives_the_references_detections(tmp_path):
    expected, told = golden_dense("retinanet_xtiny")
    how = told["cases"]["odd"]
    path = written(tmp_path / "x.pth", {"meta": {"epoch": 12}, "state_dict": published("retinanet_xtiny")})
    predictor = moganet.load(path, runtime="eager")
    names, ids = coco80()
    assert predictor.class_names == names and predictor.config.task.category_ids == ids
    (height, width), padded = how["valid"], how["padded"]
    x = torch.zeros(2, 3, *padded)
    x[0, :, :height, :width] = scene(height, width, how["seed"])[0]
    first, second = predictor.outputs(x, sizes=[(height, width), padded])
    assert (first["labels"] == expected["odd.det.labels"].numpy()).all() and first.keys() == second.keys()
    assert abs(first["boxes"] - expected["odd.det.boxes"].numpy()).max() < 1e-3
    assert abs(first["scores"] - expected["odd.det.scores"].numpy()).max() < 1e-5
    for sizes in ([(height, width)], [(0, 3), (3, 3)], [(height, width), (padded[0] + 1, 3)]):
        with pytest.raises(ConfigError, match=r"sizes|lie"):
            predictor.outputs(x, sizes=sizes)


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize("name", ["mask_rcnn_xtiny", "cascade_mask_rcnn_xtiny", "cascade_mask_rcnn_4conv1f_xtiny"])
def test_detections_of_published_files_come_in_the_references_order(name, tmp_path):
    expected, told = golden_dense(name)
    how = told["cases"]["odd"]
    path = written(tmp_path / "x.pth", {"meta": {}, "state_dict": published(name)})
    (height, width), original = how["valid"], how["original"]
    x = torch.zeros(1, 3, *how["padded"])
    x[:, :, :height, :width] = scene(height, width, how["seed"])
    found = moganet.load(path, runtime="eager").outputs(x, sizes=[(height, width)])[0]
    scale = [original[1] / width, original[0] / height] * 2
    assert (found["labels"] == expected["odd.det.labels"].numpy()).all()
    assert abs(found["boxes"] * scale - expected["odd.det.boxes"].numpy()).max() < 1e-3
    assert abs(found["scores"] - expected["odd.det.scores"].numpy()).max() < 1e-5
    assert found["masks"].shape == (len(found["boxes"]), height, width) and found["masks"].any()


@pytest.mark.parametrize("head", SMALL)
def test_every_head_is_known_by_its_tensors_and_answers(head, tmp_path):
    state = small(head)
    predictor = moganet.load(written(tmp_path / "x.pth", {"state_dict": state}), runtime="eager")
    found = predictor.config.architecture
    assert (found.name, found.num_classes) == ("moganet_nano", 80)
    assert all(getattr(found.head, name) == value for name, value in SMALL[head].items())
    [answer] = predictor.outputs(scene(64, 96, 0), sizes=[(60, 90)])
    assert ("masks" in answer) == found.head.masks
    assert all(len(values) == len(answer["labels"]) for values in answer.values())
    if "masks" in answer:
        assert answer["masks"].shape[1:] == (60, 90) and answer["masks"].dtype == bool


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (lambda state: {"state_dict": state, "optimizer": {"state": {}}}, "plain"),
        (lambda state: {"state_dict": named("module.", state)}, "plain"),
        (lambda state: {"model": named("_orig_mod.", state)}, "plain"),
        (lambda state: {"state_dict_ema": named("module.", state)}, "ema"),
        (lambda state: {"state_dict": named("ema.", state)}, "ema"),
    ],
)
def test_it_is_found_behind_any_prefix(make, weights, tmp_path):
    state = small("maskrcnn", 3)
    checkpoint = read_checkpoint(written(tmp_path / "x.pth", make(state)))
    assert (checkpoint.format, checkpoint.weights) == ("mmdet", weights) and checkpoint.state.keys() == state.keys()


def test_safetensors_and_other_classes_with_names(tmp_path):
    state = small("retinanet", 2)
    path = written(tmp_path / "x.safetensors", state, CLASSES='["cat", "dog"]')
    assert moganet.load(path, runtime="eager").class_names == ("cat", "dog")
    other = written(tmp_path / "z.pth", {"meta": {"CLASSES": ["a", "b", "c"]}, "state_dict": state})
    with pytest.raises(WeightsError, match="3 classes for a head of 2"):
        moganet.load(other)


def test_names_of_mmengine_are_read_too(tmp_path):
    state = small("retinanet", 2)
    meta = {"dataset_meta": {"classes": ("cat", "dog")}}
    assert read_checkpoint(written(tmp_path / "x.pth", {"meta": meta, "state_dict": state})).class_names == (
        "cat",
        "dog",
    )


def test_its_configuration_says_how_it_was_tested(tmp_path):
    path = written(tmp_path / "x.pth", {"meta": {"config": CONFIG}, "state_dict": small("maskrcnn", 3)})
    checkpoint = read_checkpoint(path)
    head, own = checkpoint.architecture.head, checkpoint.preprocessing
    assert (head.score, head.overlap, head.most, head.proposals) == (0.1, 0.6, 50, 300)
    assert (own.size, own.crop_mode, own.multiple, own.antialias) == ((480, 640), "fit", 1, False)
    assert own.mean == (0.5,) * 3 and own.std == (0.2,) * 3


@pytest.mark.parametrize("head", ["retinanet", "4conv1f"])
def test_it_is_written_key_for_key(head, tmp_path):
    state = small(head, 3)
    source = written(tmp_path / "x.pth", {"meta": {"CLASSES": ("a", "b", "c")}, "state_dict": state})
    moganet.convert(source, tmp_path / "model.safetensors")
    moganet.convert(tmp_path / "model.safetensors", tmp_path / "y.pth")
    again = torch.load(tmp_path / "y.pth", weights_only=True)
    assert again["meta"]["CLASSES"] == ("a", "b", "c") and again["state_dict"].keys() == state.keys()
    assert all(torch.equal(again["state_dict"][name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    "variant", [name if name == "moganet_tiny" else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_every_variant_is_known(variant, tmp_path):
    blank = build_blank(Architecture(name=variant, head=SMALL["cascade"], num_classes=4)).state_dict()
    found = architecture_of(Checkpoint("", blank))
    assert (found.name, found.num_classes, found.head.title) == (variant, 4, "cascade")


def test_released_names_are_of_files_with_their_head(tmp_path):
    assert len(FINDERS) == 10
    path = written(tmp_path / "x.pth", {"state_dict": small("retinanet", 80, "moganet_xtiny")})
    check_release("moganet_xtiny.retinanet_coco", path)
    with pytest.raises(WeightsError, match="head retinanet, not maskrcnn"):
        check_release("moganet_xtiny.maskrcnn_coco", path)


def test_a_head_follows_its_classes_by_name(tmp_path):
    meta = {"CLASSES": ("a", "b", "c")}
    for head in ("maskrcnn", "retinanet"):
        path = written(tmp_path / f"{head}.pth", {"meta": meta, "state_dict": small(head, 3)})
        source = moganet.load(path, runtime="eager")
        network = build_network_for(source.config.architecture).eval()
        start_from(network, source, ("c", "a", "b"))
        x = scene(64, 96, 0)
        with torch.inference_mode():
            ours, theirs = network(x), source.model(x)
        back = torch.tensor([2, 0, 1, -1])
        order = theirs["scores"].argsort(descending=True, stable=True)
        assert torch.allclose(
            ours["scores"].sort(descending=True).values, theirs["scores"].sort(descending=True).values
        )
        assert (back[ours["labels"]] == theirs["labels"]).float().mean() > 0.9 and len(order)


def test_a_head_for_other_classes_starts_anew(tmp_path):
    path = written(tmp_path / "x.pth", {"state_dict": small("maskrcnn", 3)})
    predictor = moganet.load(path, runtime="eager", num_classes=7)
    assert len(predictor.class_names) == 7
    assert predictor.model.roi_head.bbox_head.fc_cls.weight.shape[0] == 8
    with pytest.raises(ConfigError, match="with the head maskrcnn"):
        moganet.load(path, num_classes=0)
