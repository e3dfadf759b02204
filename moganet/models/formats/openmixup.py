"""OpenMixup's `.pth`: `meta` and a `state_dict` whose names start with `backbone.`; nearly always double-gated.

Detectors and segmenters of the reference repository name their backbone so too, beside heads of their own. Anyone's own
module may keep a network in `self.backbone`; then `backbone.head.` is there, which neither of these has.
"""

from collections.abc import Mapping
from typing import Any

from moganet.models.choices import Choices
from moganet.models.formats.format import Format
from moganet.models.reading.checkpoint import Checkpoint, checked_state
from moganet.models.reading.contents import Content
from moganet.models.reading.networks import Network, choose_network, find_networks

# The two released files that were trained without `attn_force_fp32` (spec: released checkpoints).
SINGLE_GATED = ("moga_large_sz224_8xb64_accu2_ep300", "no_forcefp32")
PREFIX, HEAD, OWN_HEAD, BUFFERS = "backbone.", "head.fc.", "head.", "ema_"
DENSE = (
    "neck.",
    "rpn_head.",
    "roi_head.",
    "bbox_head.",
    "mask_head.",
    "decode_head.",
    "auxiliary_head.",
    "keypoint_head.",
)
AGGREGATION = {"channel_aggregation": "as in the reference"}


def backbones(content: Content) -> list[Network]:
    """Give the networks that lie behind this prefix and have no head of their own."""
    if content.kind == "arrays":
        return []
    return [
        network
        for network in find_networks(content.values)
        if f".{network.prefix}".endswith(f".{PREFIX}")
        and not any(isinstance(name, str) and name.startswith(OWN_HEAD) for name in network.state)
    ]


def beside_of(network: Network) -> dict[str, Any]:
    """Give what lies beside a backbone, without what DDP and others put before all names."""
    outer = network.prefix.removesuffix(PREFIX)
    return {name.removeprefix(outer): value for name, value in network.beside.items()}


def is_dense(content: Content) -> bool:
    """Tell whether a file holds a backbone under this prefix beside a detector's or segmenter's heads."""
    return any(name.startswith(DENSE) for network in backbones(content) for name in beside_of(network))


def is_openmixup(content: Content) -> bool:
    """Tell whether a file holds a backbone under this prefix, alone or with OpenMixup's head."""
    return any(_is_theirs(network) for network in backbones(content)) and not is_dense(content)


def _is_theirs(network: Network) -> bool:
    """Tell a backbone with OpenMixup's head, or with nothing that says otherwise; buffers of mmcv's EMA say nothing."""
    beside = [name for name in beside_of(network) if not name.startswith(BUFFERS)]
    return not beside or any(name.startswith(HEAD) for name in beside)


def read_openmixup(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content; its name tells the two single-gated releases. A bare backbone's origin is a guess."""
    chosen = choose_network(content, choices, backbones(content))
    head = {n.replace(HEAD, "head."): t for n, t in beside_of(chosen.network).items() if n.startswith(HEAD)}
    single = any(mark in content.path.name for mark in SINGLE_GATED)
    why = "this release was trained so" if single else "OpenMixup trains so: attn_force_fp32"
    is_guess = not head and not single
    reasons = {"gate": f"a guess: that it is OpenMixup's backbone; {why}" if is_guess else why, **AGGREGATION}
    state = checked_state({**chosen.network.state, **head}, content.path)
    others = {name: value for name, value in chosen.network.beside.items() if HEAD not in name}
    more = {"gate": "single" if single else "double", "guessed": ("gate",) * is_guess, "notes": _passed_over(others)}
    return chosen.checkpoint("openmixup", state, reasons, **more)


def read_dense(content: Content, choices: Choices) -> Checkpoint:
    """Read the backbone out of a detector or segmenter; it has no classifier's head."""
    chosen = choose_network(content, choices, backbones(content))
    reasons = {"gate": "the reference's detectors and segmenters start from its own weights", **AGGREGATION}
    state = checked_state(chosen.network.state, content.path)
    return chosen.checkpoint("dense", state, reasons, notes=_passed_over(chosen.network.beside))


def _passed_over(beside: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(Network(("state_dict",), "", {}, beside).notes())


FORMAT = Format("OpenMixup's .pth", is_openmixup, read_openmixup)
DENSE_FORMAT = Format("another detector's or segmenter's .pth", is_dense, read_dense)
