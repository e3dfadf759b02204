"""No value of a setting, however odd, ends in anything but a run's beginning or one line, with nothing written."""

from typing import Any, get_args

import pytest

from moganet.config import Recipe, Settings
from moganet.errors import ConfigError, MogaNetError
from moganet.tasks.recipes import load_recipe
from moganet.training.assemble import build_module, build_task, build_trainer, try_settings
from moganet.training.resolve import prepare

SMALL = {
    **{"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "network.mlp_ratios": [2, 2, 2, 2]},
    **{"data.batch_size": 16, "logger": "csv", "augment.crop": "pad", "trainer.precision": "f32"},
}
HOSTILE = [-1, 0, 1e-300, 1e300, float("nan"), float("inf"), "", "x", [], {}, None, True, 10**30, [-1, 0], [1e300] * 4]
# What would start processes, download, or ask much of the machine has tests of its own.
LEFT_OUT = ("start.model", "loss.teacher", "data.source", "trainer.compile", "name", "report")


def keys(kind: type[Settings] = Recipe, prefix: str = "") -> list[str]:
    found = []
    for name, field in kind.model_fields.items():
        section = isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        found += keys(field.annotation, f"{prefix}{name}.") if section else [prefix + name]
    return [key for key in found if key not in LEFT_OUT]


def begins(overrides: dict[str, Any], tmp_path) -> str | None:
    """Build all that a run builds before it writes; give the line of an error."""
    try:
        settings, dataset = prepare("digits", None, overrides)
        task, module = build_task(settings, dataset), build_module(settings, dataset)
        try_settings(settings, module, task)
        build_trainer(settings, tmp_path, [])
    except MogaNetError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("key", keys())
def test_every_setting_takes_every_value_or_refuses_it_in_a_line(key, tmp_path):
    for value in HOSTILE:
        line = begins({**SMALL, key: value}, tmp_path)
        assert line is None or ("\n" not in line and len(line) < 1200), (key, value, line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "key", ["augment.mixup", "augment.pad", "loss.smoothing", "optimizer.betas", "network.dilations"]
)
def test_so_do_some(key, tmp_path):
    test_every_setting_takes_every_value_or_refuses_it_in_a_line(key, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"augment.crop": "pad", "augment.pad": 40}, "augment"),
        ({"augment.crop": "resized", "augment.scale": [0.9, 0.1]}, "augment"),
        ({"optimizer.betas": [0.9, 0.99, 0.5]}, "optimizer.betas"),
        ({"preprocessing.size": [32, 32, 32]}, "preprocessing.size"),
        ({"schedule.min_lr": float("nan")}, "schedule.min_lr"),
        ({"trainer.devices": 1000}, "trainer.devices"),
        ({"network.depths": [10**9, 1, 1, 1]}, "network.depths"),
    ],
    ids=str,
)
def test_what_is_refused_names_its_key(overrides, named, tmp_path):
    assert named in (begins({**SMALL, **overrides}, tmp_path) or "")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "a: &a [*a]",
        "x: 2024-99-99",
        "x: !!python/object/apply:os.system [ls]",
        "? [a]\n: b",
        "1: 2",
        "base: [1]",
        "base: {recipe}",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "\n".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]" for p, c in zip("abcdefghij", "bcdefghijk", strict=True)),
        "seed: " + "9" * 5000,
        "\x00",
        "a: b: c",
        "<<: [1]",
    ],
    ids=lambda text: text[:12],
)
def test_a_recipe_that_is_no_recipe_is_one_line(text, tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(text.replace("{recipe}", str(file)))
    with pytest.raises(ConfigError) as caught:
        load_recipe(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_keys_are_all_of_them():
    assert len(keys()) > 60 and not any(get_args(key) for key in keys())
