"""Detectors compute what the reference's do, learn by its losses, have its parameters, and cost what was published."""

import numpy as np
import pytest
import torch
from dense_files import DETECTORS, golden_dense, published, scene
from PIL import Image, ImageDraw

from moganet.config import Architecture
from moganet.errors import ConfigError
from moganet.models.build import build_blank, build_network_for, build_seeded
from moganet.network.cost import count_parameters, measure
from moganet.network.dense.matching import (
    BACKGROUND,
    IGNORED,
    Drawn,
    Limits,
    Objects,
    Sampling,
    draw,
    match,
    matched_inside,
)
from moganet.network.dense.rpn import LIMITS
from moganet.network.fuse import fastest
from moganet.tasks.detect.pasting import paste

RELATIVE = 1e-5  # of a tensor's largest value
PIXELS = 1e-3
FOUR_CONV = DETECTORS["cascade_mask_rcnn_4conv1f_xtiny"]
CASCADES = {"cascade_mask_rcnn_xtiny", "cascade_mask_rcnn_4conv1f_xtiny"}
SLOW = {"mask_rcnn_xtiny", *CASCADES}  # which look at a thousand proposals
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in DETECTORS]
# Exact parameters, and multiply-adds (G) at 1280x800 as published.
PUBLISHED = {
    ("xtiny", "maskrcnn"): (22_766_634, 185.4),
    ("tiny", "maskrcnn"): (24_968_476, 191.7),
    ("small", "maskrcnn"): (44_990_083, 271.6),
    ("base", "maskrcnn"): (63_383_075, 373.1),
    ("large", "maskrcnn"): (102_048_346, 495.3),
    ("xtiny", "retinanet"): (12_120_110, 167.2),
    ("tiny", "retinanet"): (14_469_408, 173.4),
    ("small", "retinanet"): (35_072_647, 253.0),
    ("base", "retinanet"): (53_465_639, 354.5),
    ("large", "retinanet"): (92_425_822, 476.8),
}
SMALL = {"neck": 8, "hidden": 16, "proposals": 40, "most": 10, "score": 0.0}


def made(name):
    network = build_network_for(Architecture(name="moganet_xtiny", head=DETECTORS[name], num_classes=80)).eval()
    network.load_state_dict(published(name))
    return network


def apart(given, expected):
    return float((given - expected).abs().max() / expected.abs().max())


def shown(how):
    (height, width), padded = how["valid"], how["padded"]
    x = torch.zeros(1, 3, *padded)
    x[:, :, :height, :width] = scene(height, width, how["seed"])
    return x, (height, width)


@pytest.mark.parametrize("name", EACH)
def test_maps_proposals_and_answers_are_the_references(name):
    network, (expected, told) = made(name), golden_dense(name)
    case, how = "odd", told["cases"]["odd"]
    (x, size), want = shown(how), lambda key: expected[f"{case}.{key}"]
    with torch.inference_mode():
        levels = network.pyramid(x)
        found = network.found(levels, torch.tensor([size]))
        if name not in CASCADES:
            for i, y in enumerate(levels):
                assert apart(y.mean((2, 3)), want(f"fpn{i}.mean")) < RELATIVE
                assert apart(y[:, :32, :3, :3], want(f"fpn{i}.corner")) < RELATIVE
        if name == "retinanet_xtiny":
            check_retinanet(network, levels, size, want)
        else:
            check_proposals(network, levels, size, want)
            check_given(network, levels, size, want)
    number, boxes = len(want("det.labels")), found["boxes"][0]
    if not network.is_single:  # whose answers are in the original's pixels
        boxes = boxes * torch.tensor([how["original"][1] / size[1], how["original"][0] / size[0]] * 2)
    assert (found["labels"][0, :number] == want("det.labels")).all()
    assert (boxes[:number] - want("det.boxes")).abs().max() < PIXELS
    assert (found["scores"][0, :number] - want("det.scores")).abs().max() < 2 * RELATIVE
    if network.head.masks:  # in the reference's very boxes, which differ from ours by less than a thousandth of a pixel
        masks = paste(found["masks"][0].numpy(), want("det.boxes").numpy(), tuple(how["original"]))
        assert (masks.sum((1, 2)) == want("det.mask_area").numpy()).all()
        assert (np.packbits(masks[:12].reshape(12, -1), axis=1) == want("det.masks").numpy()).all()


def check_retinanet(network, levels, size, want):
    logits, differences = network.bbox_head(levels)
    anchors = network.bbox_head.anchors(levels)
    for i, (cls, reg, step) in enumerate(zip(logits, differences, (8, 4, 2, 1, 1), strict=True)):
        assert apart(cls.mean((2, 3))[0], want(f"cls{i}_mean")) < RELATIVE
        assert apart(reg[0, :, ::step, ::step], want(f"reg{i}")) < RELATIVE
        placed = anchors[i].view(*cls.shape[2:], 9, 4)[::step, ::step]
        assert (placed - want(f"anchors{i}")).abs().max() < PIXELS
    # What the coarse levels alone find, whose anchors and strides torchvision has otherwise.
    for key, kept in (("det_mid", (1,)), ("det_coarse", (3, 4)), ("det_last", (4,))):
        alone = [x if i in kept else torch.full_like(x, -20) for i, x in enumerate(logits)]
        network.bbox_head.head = network.head.changed(score=0.0)
        found = network.bbox_head.chosen(alone, differences, anchors, torch.tensor([size]))
        number = len(want(f"{key}.labels"))
        assert (found["labels"][0, :number] == want(f"{key}.labels")).all(), key
        # Boxes of P6 and P7 are as large as the image: in float64 they are 0.98e-3 from the reference's float32.
        assert (found["boxes"][0, :number] - want(f"{key}.boxes")).abs().max() < 2 * PIXELS


def check_proposals(network, levels, size, want):
    rpn = network.rpn_head
    [(boxes, there)] = rpn.propose(rpn(levels), rpn.anchors(levels), torch.tensor([size]))
    nearest = (boxes[:, None] - want("proposals")[None, :, :4]).abs().amax(2).min(1).values
    assert there.all() and len(boxes) == len(want("proposals")) and nearest.max() < PIXELS


def check_given(network, levels, size, want):
    looks, boxes = network.roi_head, want("given_boxes")
    for stage in range(len(looks.stages)):
        key = f"s{stage}." if looks.is_cascade else ""
        logits, differences = looks.look(stage, levels[:4], [boxes])
        step = 2 if looks.is_cascade else 1
        assert apart(logits[::step], want(f"{key}given_cls")) < RELATIVE
        every = 8 if looks.is_cascade else 4
        given = differences[:, 0] if looks.head.one_box else differences[:, ::every]
        assert apart(given, want(f"{key}given_reg")) < RELATIVE
        boxes = looks.refined(stage, boxes, logits[:, :-1].argmax(1), differences, torch.tensor(size))


@pytest.mark.parametrize(
    "name", ["retinanet_xtiny", "mask_rcnn_xtiny", *(pytest.param(name, marks=pytest.mark.slow) for name in CASCADES)]
)
def test_losses_and_gradients_are_the_references(name):
    network, (expected, told) = made(name), golden_dense(name)
    x, sizes, targets = learned(told["loss"], expected)
    levels, padded = network.pyramid(x), [(192, 256), (160, 224)]
    if network.is_single:
        losses = network.bbox_head.losses(levels, padded, targets)
        wanted = {key: expected[f"loss.{key}"].sum() for key in losses}
    else:
        losses, wanted = losses_of_two(network, levels, list(zip(sizes, padded, strict=True)), targets, expected)
    for key, loss in losses.items():
        assert loss.item() == pytest.approx(wanted[key].item(), rel=RELATIVE), key
    sum(losses.values()).backward()
    norms = {key.removeprefix("grad_norm."): norm for key, norm in expected.items() if key.startswith("grad_norm.")}
    for part, norm in norms.items():
        gradients = [p.grad for p in network.get_submodule(part).parameters() if p.grad is not None]
        total = torch.stack([gradient.double().norm() for gradient in gradients]).norm()
        assert total.item() == pytest.approx(norm.item(), rel=RELATIVE), part


def losses_of_two(network, levels, sizes, targets, expected):
    rpn = network.rpn_head
    given, by_level = rpn(levels), rpn.anchors(levels)
    losses = rpn.losses(given, by_level, sizes, targets, Sampling(rpn=None))
    wanted = {key: expected[f"loss.nosampling.{key}"].sum() for key in losses}
    anchors, drawn = torch.cat(by_level), []
    for k, (size, padded) in enumerate(sizes):
        owners = matched_inside(anchors, rpn.valid(by_level, levels, size, padded), targets[k].boxes, LIMITS)
        drawn.append(Drawn(expected[f"loss.sampled.pos{k}"].long(), expected[f"loss.sampled.neg{k}"].long(), owners))
    for key, loss in rpn.losses_of(given, anchors, targets, drawn).items():
        assert loss.item() == pytest.approx(expected[f"loss.sampled.{key}"].sum().item(), rel=RELATIVE), key
    proposals = [expected[f"loss.roi.proposals{k}"] for k in (0, 1)]
    of_looks = network.roi_head.losses(levels[:4], proposals, [size for size, _ in sizes], targets, Sampling())
    return losses | of_looks, wanted | {key: expected[f"loss.roi.{key}"] for key in of_looks}


def learned(how, expected):
    """Give the batch, the images' sizes, and their objects, whose outlines are filled as COCO's are."""
    outlines = pytest.importorskip("moganet.data.outlines")
    (size, padded), (other, _) = how["image0"], how["image1"]
    x = torch.zeros(2, 3, *padded)
    x[0], x[1, :, : other[0], : other[1]] = scene(*size, how["seed"])[0], scene(*other, how["seed"] + 1)[0]
    targets = []
    for k, (height, width) in enumerate((size, other)):
        drawn = [
            outlines.read_outline([one.flatten().tolist()], (width, height)) for one in expected[f"loss.gt_polygons{k}"]
        ]
        masks = torch.from_numpy(np.stack([one.mask((width, height)) for one in drawn]))
        targets.append(Objects(expected[f"loss.gt_boxes{k}"], expected[f"loss.gt_labels{k}"].long(), masks))
    return x, [tuple(size), tuple(other)], targets


@pytest.mark.parametrize(
    "key", [key if key[0] == "xtiny" else pytest.param(key, marks=pytest.mark.slow) for key in PUBLISHED]
)
def test_parameters_are_exact_and_macs_as_published(key):
    network = build_blank(Architecture(name=f"moganet_{key[0]}", head=key[1], num_classes=80))
    parameters, macs = PUBLISHED[key]
    layers, _ = measure(network, 3, (800, 1280))
    assert count_parameters(network) == parameters
    assert sum(layer.macs for layer in layers) / 1e9 == pytest.approx(macs, rel=2e-3)


@pytest.mark.parametrize(
    ("variant", "head", "parameters"),
    [
        ("small", "cascade", 77_918_353),
        ("small", FOUR_CONV, 82_825_285),
        pytest.param("base", FOUR_CONV, 101_218_277, marks=pytest.mark.slow),
        pytest.param("large", FOUR_CONV, 139_883_548, marks=pytest.mark.slow),
    ],
)
def test_parameters_of_cascades_are_exact(variant, head, parameters):
    assert (
        count_parameters(build_blank(Architecture(name=f"moganet_{variant}", head=head, num_classes=80))) == parameters
    )


@pytest.mark.parametrize("name", ["convnext_atto", "resnet18", "swin_tiny_patch4_window7_224"])
def test_any_network_of_timms_with_maps_carries_a_head(name):
    architecture = Architecture(name=f"timm:{name}", head={"name": "maskrcnn", **SMALL}, num_classes=5)
    with torch.inference_mode():
        found = build_blank(architecture).eval()(torch.zeros(1, 3, 224, 224, device="meta"))
    assert found["boxes"].shape == (1, 10, 4) and found["masks"].shape == (1, 10, 28, 28)


def test_maps_whose_strides_do_not_double_are_refused():
    with pytest.raises(ConfigError, match="strides double"):
        build_blank(Architecture(name="timm:vit_tiny_patch16_224", head="retinanet", num_classes=5))


@pytest.mark.parametrize("head", ["retinanet", "maskrcnn", "cascade"])
def test_images_of_a_batch_do_not_see_each_other_and_padding_is_never_answered(head):
    options = SMALL if head != "retinanet" else {"neck": 8, "convs": 1, "most": 10, "score": 0.0}
    network = build_seeded(Architecture(name="moganet_nano", head={"name": head, **options}, num_classes=3)).eval()
    x, sizes = torch.zeros(2, 3, 64, 96), [(64, 50), (40, 96)]
    for i, (height, width) in enumerate(sizes):
        x[i, :, :height, :width] = scene(height, width, i)[0]
    with torch.inference_mode():
        both = network(x, sizes)
        for i, size in enumerate(sizes):
            alone = network(x[i : i + 1], [size])
            there = both["labels"][i] >= 0
            assert there.any() and torch.equal(alone["labels"][0], both["labels"][i])
            assert torch.allclose(alone["boxes"][0], both["boxes"][i], atol=PIXELS)
            assert both["boxes"][i][:, 2].max() <= size[1] and both["boxes"][i][:, 3].max() <= size[0]
        fused = fastest(network)(x, sizes)
    assert torch.allclose(fused["scores"], both["scores"], atol=1e-4)


@pytest.mark.parametrize("head", ["retinanet", "maskrcnn", "cascade"])
def test_a_batch_without_an_object_gives_losses_to_learn_by(head):
    options = SMALL if head != "retinanet" else {"neck": 8, "convs": 1}
    network = build_seeded(Architecture(name="moganet_nano", head={"name": head, **options}, num_classes=3))
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, 64, 64))
    losses = network.losses(torch.randn(2, 3, 64, 64), [(64, 64), (60, 50)], [nothing, nothing])
    total = sum(losses.values())
    total.backward()
    assert total.isfinite() and total > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_masks_that_lack_are_named():
    network = build_seeded(Architecture(name="moganet_nano", head={"name": "maskrcnn", **SMALL}, num_classes=3))
    bare = Objects(torch.tensor([[1.0, 1.0, 9.0, 9.0]]), torch.tensor([0]))
    with pytest.raises(ConfigError, match="masks"):
        network.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [bare])


def test_an_object_takes_every_box_that_ties_for_its_best_and_later_ones_go_first():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 7]])
    objects = torch.tensor([[0.0, 0, 10, 4], [0, 0, 10, 4]])
    assert match(boxes, objects, Limits(0.9, 0.3, best=0.3)).tolist() == [IGNORED, IGNORED, BACKGROUND, 1]
    assert match(boxes, objects, Limits(0.9, 0.3, best=None)).tolist() == [IGNORED, IGNORED, BACKGROUND, IGNORED]
    far = torch.tensor([[90.0, 90, 95, 95]])  # which overlaps nothing, and takes nothing
    assert match(boxes, far, Limits(0.5, 0.4, best=0.0)).tolist() == [BACKGROUND] * 4


def test_so_many_boxes_are_drawn_as_are_asked_for():
    owners = torch.tensor([0, 0, 0, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND, IGNORED])
    drawn = draw(owners, 4, 0.25)
    assert len(drawn.positive) == 1 and len(drawn.negative) == 3
    assert (owners[drawn.positive] >= 0).all() and (owners[drawn.negative] == BACKGROUND).all()


def test_a_pasted_mask_lies_in_its_box_to_the_pixel():
    masks = paste(
        np.ones((3, 28, 28), np.float32), np.array([[2, 3, 7, 9], [-4, -4, 2.4, 1.6], [5, 5, 5, 9]]), (10, 12)
    )
    expected = Image.new("L", (12, 10))
    ImageDraw.Draw(expected).rectangle((2, 3, 6, 8), fill=1)
    assert (masks[0] == np.asarray(expected)).all()
    assert masks[1].sum() == 4 and masks[1][:2, :2].all() and not masks[2].any()
