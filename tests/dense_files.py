"""The golden files of segmenters and detectors: the reference's own outputs, and what they were made with."""

import json
import re
from functools import cache

import numpy as np
import torch
from golden_files import GOLDEN, fill
from safetensors import safe_open

DENSE = GOLDEN / "dense"
FILES = {  # the variant and head of each
    "semantic_fpn_xtiny": ("moganet_xtiny", "fpn"),
    "semantic_fpn_tiny": ("moganet_tiny", "fpn"),
    "upernet_xtiny": ("moganet_xtiny", "upernet"),
}
DETECTORS = {  # the head of each, over xtiny
    "retinanet_xtiny": "retinanet",
    "mask_rcnn_xtiny": "maskrcnn",
    "cascade_mask_rcnn_xtiny": "cascade",
    "cascade_mask_rcnn_4conv1f_xtiny": {"name": "cascade", "convs": 4, "fcs": 1, "one_box": False},
}
# Factors on what `fill` draws, by name; the first match counts.
FACTORS = (
    (r"bbox_head\.retina_cls\.weight", 0.9),
    (r"bbox_head\.retina_reg\.weight", 0.3),
    (r"rpn_head\.rpn_cls\.weight", 0.4),
    (r"rpn_head\.rpn_reg\.weight", 0.15),
    (r"roi_head\.bbox_head\.(\d\.)?fc_(cls|reg)\.weight", 0.5),
    (r"roi_head\.mask_head\.(\d\.)?conv_logits\.weight", 4.0),
    (r"neck\.fpn_convs\.4\..*weight", 4.0),
    (r"neck\.fpn_convs\.2\..*weight", 3.0),
    (r"neck\.fpn_convs\.3\..*weight", 6.0),
    (r"(decode_head|auxiliary_head)\.conv_seg\.weight", 4.0),
    (r"decode_head\.scale_heads\..*weight", 1.1),
    (r"(neck|rpn_head|bbox_head|roi_head|decode_head|auxiliary_head|keypoint_head)\..*weight", 2.0),
)
# Factors and shifts of biases that end a head of a detector.
BIASES = (
    (r"bbox_head\.retina_cls\.bias", 12.0, -10.2),
    (r"roi_head\.bbox_head\.(\d\.)?fc_cls\.bias", 10.0, 0.0),
)


def shapes(name):
    """Give a published file's names and shapes, in its order."""
    found = {}
    for line in (DENSE / "keys" / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            key, _, sides = line.partition(" ")
            found[key] = torch.empty([int(side) for side in sides.split("x")]) if sides else torch.tensor(0)
    return found


def filled(state):
    """Draw a whole segmenter's or detector's tensors from their names and shapes."""
    drawn = fill(state)
    for name, tensor in drawn.items():
        factor = next((factor for rule, factor in FACTORS if re.match(rule, name)), 1.0)
        if tensor.ndim > 1 and factor != 1.0:
            drawn[name] = torch.from_numpy((tensor.numpy().astype(np.float64) * factor).astype(np.float32))
        bias = next(((factor, shift) for rule, factor, shift in BIASES if re.match(rule, name)), None)
        if bias is not None:
            drawn[name] = torch.from_numpy((tensor.numpy().astype(np.float64) * bias[0] + bias[1]).astype(np.float32))
    return drawn


@cache
def published(name):
    """Give what a published file's `state_dict` holds: its names and shapes, drawn."""
    return filled(shapes(name))


def golden_dense(name):
    """Give a file's tensors, and what its metadata say."""
    with safe_open(DENSE / f"{name}.safetensors", "pt") as file:
        told = {key: json.loads(text) for key, text in file.metadata().items() if text.startswith("{")}
        return {key: file.get_tensor(key) for key in file.keys()}, told  # noqa: SIM118


def scene(height, width, seed, number=1):
    """Give images (number, 3, height, width) of blocks of noise."""
    random = np.random.RandomState(seed)
    made = np.zeros((number, 3, height, width))
    for side, gain in ((64, 0.8), (24, 0.6), (8, 0.5), (1, 0.3)):
        grid = random.standard_normal((number, 3, -(-height // side), -(-width // side)))
        made += gain * grid.repeat(side, 2).repeat(side, 3)[:, :, :height, :width]
    return torch.from_numpy(made.astype(np.float32))


def picture(height, width, seed):
    """Give an image uint8 (3, height, width)."""
    made = scene(height, width, seed)[0].numpy().astype(np.float64)
    return np.clip(np.rint(128 + 45 * made), 0, 255).astype(np.uint8)
