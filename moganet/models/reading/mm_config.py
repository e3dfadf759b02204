"""What a configuration of mmsegmentation's, mmdetection's or mmpose's says of testing. Read as text, never run."""

import ast
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from moganet.config import Preprocessing, validate
from moganet.tasks.windows import Window

MAX_TEXT = 1 << 20  # characters; a configuration has a hundredth
ALIGNED = {"AlignResize": 32, "ResizeToMultiple": 32}  # transforms that make sides multiples, by default of this
RESIZES = ("Resize", *ALIGNED)
# The reference's own: 2048x512, whole images, sides that are multiples of 32, ImageNet's colours, OpenCV's pixels.
REFERENCE = Preprocessing(size=(512, 2048), crop_mode="fit", multiple=32, interpolation="bilinear", antialias=False)


class Testing(NamedTuple):
    """How a network was tested. pools: UPerNet's. strange: what it says that is computed otherwise here.

    settings: what it says of testing beside that, as it stands (mm's `test_cfg`).
    """

    preprocessing: Preprocessing
    window: Window | None
    pools: tuple[int, ...] | None
    strange: str | None
    settings: Mapping[str, Any] = MappingProxyType({})


def read_config(text: Any) -> Testing | None:
    """Read a configuration's text. None where it is no such text, or does not say how images are prepared.

    Raises ConfigError for values that can't be.
    """
    values = values_of(text)
    steps = list(steps_of(values_at(values, "data", "test", "pipeline") or values.get("test_pipeline")))
    resize = next((step for step in steps if step.get("type") in RESIZES), None)
    scale = _scale([step.get("img_scale") for step in steps])
    if resize is None or scale is None:
        return None
    multiple = resize.get("size_divisor", ALIGNED.get(resize["type"], 1))
    changes = {"size": tuple(sorted(scale)), "multiple": multiple or 1}
    if resize.get("keep_ratio", True) is False:  # to the scale itself, (width, height)
        changes = {"size": scale[::-1], "crop_mode": "squash", "multiple": 1}
    colours = next((step for step in steps if step.get("type") == "Normalize"), {})
    for name in ("mean", "std"):
        if isinstance(colours.get(name), list | tuple):
            changes[name] = tuple(value / 255 for value in colours[name])
    preprocessing = validate(Preprocessing, {**dict(REFERENCE), **changes}, "its meta's config")
    tested = values_at(values, "model", "test_cfg") or {}
    head = values_at(values, "model", "decode_head") or {}
    window = {"size": tested.get("crop_size"), "stride": tested.get("stride")}
    is_slid = tested.get("mode") == "slide"
    return Testing(
        preprocessing,
        validate(Window, window, "its meta's config") if is_slid else None,
        _sides(head.get("pool_scales")),
        _strange(head, colours),
        tested,
    )


def _sides(given: Any) -> tuple[int, ...] | None:
    sides = tuple(given) if isinstance(given, list | tuple) else ()
    return sides if sides and all(isinstance(side, int) and side > 0 for side in sides) else None


def _strange(head: Mapping[str, Any], colours: Mapping[str, Any]) -> str | None:
    if head.get("align_corners") is True:
        return "align_corners=True"
    return "to_rgb=False" if colours.get("to_rgb", True) is False else None


def _scale(given: list[Any]) -> tuple[int, int] | None:
    for scale in given:
        one = scale[0] if isinstance(scale, list) and scale and isinstance(scale[0], tuple | list) else scale
        match one:
            case [int() as width, int() as height]:
                return width, height
    return None


def steps_of(pipeline: Any) -> Iterator[Mapping[str, Any]]:
    """Give the steps of a pipeline, those within others too."""
    for step in pipeline if isinstance(pipeline, list) else ():
        if isinstance(step, dict):
            yield step
            yield from steps_of(step.get("transforms"))


def values_at(values: Any, *keys: str) -> Any:
    """Give what lies under keys within keys; None where nothing does."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def values_of(text: Any) -> dict[str, Any]:
    """Give what a configuration's text assigns; nothing of what is no such text."""
    return parse(text) if isinstance(text, str) and len(text) <= MAX_TEXT else {}


def parse(text: str) -> dict[str, Any]:
    """Give the names that a configuration assigns plain values to; of what else it holds, nothing is looked at."""
    found: dict[str, Any] = {}
    try:
        for line in ast.parse(text).body:
            match line:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    found[name] = _value(value)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return {}
    return found


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {word.arg: _value(word.value) for word in keywords if word.arg is not None}
        case ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element) for element in elements)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {ast.literal_eval(key): _value(value) for key, value in pairs if key is not None}
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None
