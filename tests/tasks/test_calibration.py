"""A temperature is taken only where the images can bear it."""

import pytest
import torch

from moganet.engine.report import keep_in_file
from moganet.tasks.classify.reliability import (
    COLDEST,
    HOTTEST,
    MIN_IMAGES,
    fit_reject,
    fit_temperature,
    why_no_temperature,
)


@pytest.mark.parametrize(
    ("temperature", "number", "errors", "said"),
    [
        (1.3, MIN_IMAGES, 9, None),
        (1.3, MIN_IMAGES - 1, 9, "too few"),
        (1.3, 1, 1, "too few"),
        (HOTTEST, 1000, 900, "bound of 20"),
        (COLDEST, 1000, 1, "bound of 0.05"),
        (1.3, 1000, 0, "bound of 0.05"),
    ],
)
def test_few_images_and_bounds_are_refused(temperature, number, errors, said):
    reason = why_no_temperature(temperature, number, errors)
    assert reason is None if said is None else said in reason


def test_foreign_labels_and_no_errors_end_at_a_bound():
    logits = 9 * torch.nn.functional.one_hot(torch.arange(200) % 10).float()
    assert "no errors" in why_no_temperature(fit_temperature(logits, torch.arange(200) % 10), 200, 0)
    assert "guesses" in why_no_temperature(fit_temperature(logits, torch.arange(1, 201) % 10), 200, 200)


def test_a_threshold_can_be_kept_without_a_temperature(tmp_path):
    from test_exporters import make_model

    from moganet.models.formats.ours import load_model_file
    from moganet.tasks.classify.description import ClassifyDescription

    path = make_model(tmp_path / "m.safetensors")
    found = ClassifyDescription(class_names=tuple("abcdefghij"), reject=fit_reject(torch.randn(200, 10)))
    keep_in_file(path, found)
    description = load_model_file(path)[1]
    assert description.task.temperature is None and description.task.reject.num_images == 200
