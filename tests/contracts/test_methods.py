"""What every method of explanation must do: maps at the input's size, a seed that decides, a model left as it was.

Closed forms: what a linear network, an additive function, and a network that looks at one patch must give.
"""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from conftest import MINI, fill
from torch import nn

import moganet
import moganet_cli.explain
from moganet.errors import ConfigError, MissingExtraError
from moganet.explanations import METHODS
from moganet.explanations.faithfulness import (
    correlation_text,
    insertion_deletion,
    random_areas,
    rank_correlation,
    with_drawn_weights,
)
from moganet.explanations.lime import kernel, lime, stability
from moganet.explanations.superpixels import KINDS, find_superpixels, mean_colours
from moganet.report.heat import overlay

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("captum", "skimage")), reason="needs the extra 'explain'"
)
CHEAP = {"lime": {"samples": 60}, "integrated-gradients": {"steps": 8}, "saliency": {"copies": 4}}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = moganet.build_network("moganet_xtiny", **MINI)
    network.load_state_dict(fill(network.state_dict()))
    return network


def picture(size, channels=3, number=2):
    """Smooth images, whose superpixels are more than one."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(number, channels, 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, size, mode="bilinear")


def run(name, model, images, targets, **options):
    return METHODS[name](model, images, targets, **{**CHEAP.get(name, {}), **options})


@pytest.mark.parametrize("size", [(33, 47), (64, 32), (32, 32), (8, 8), (3, 5)])
@pytest.mark.parametrize("name", METHODS)
def test_maps_have_the_inputs_resolution(name, size, network):
    images = picture(size)
    found = METHODS[name].explain(network.eval(), images, torch.tensor([1, 3]), **CHEAP.get(name, {}))
    assert len(found) == 2
    for one in found:
        assert one.map.shape == size and one.map.dtype == torch.float32 and one.map.isfinite().all()
        assert not one.map.requires_grad and all(part.shape == size for part in one.parts.values())
    if not METHODS[name].signed:
        assert all((one.map >= 0).all() for one in found)


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_decides_and_an_image_does_not_depend_on_its_neighbours(name, network):
    images, targets = picture((32, 32)), torch.tensor([1, 3])
    torch.manual_seed(1)
    first = run(name, network.eval(), images, targets)
    torch.manual_seed(2)
    assert torch.equal(first, run(name, network, images, targets))
    alone = run(name, network, images[1:], targets[1:])
    assert torch.allclose(first[1], alone[0], atol=1e-5 * float(first[1].abs().max()))
    if "seed" in METHODS[name].options:
        assert not torch.equal(first, run(name, network, images, targets, seed=1))


@pytest.mark.parametrize("name", METHODS)
def test_the_model_stays_as_it_was(name, network):
    images, targets = picture((32, 32)), torch.tensor([1, 3])
    network.train(METHODS[name].needs_module)  # a callable is called as it is
    network.blocks2.eval()
    network.head.weight.requires_grad_(False)
    try:
        before = {key: value.clone() for key, value in network.state_dict().items()}
        modes, generator = [m.training for m in network.modules()], torch.get_rng_state()
        kept = images.clone()
        run(name, network, images, targets)
        assert [m.training for m in network.modules()] == modes and torch.equal(torch.get_rng_state(), generator)
        after = network.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        assert all(p.grad is None for p in network.parameters()) and not network.head.weight.requires_grad
        assert all(
            not m._forward_hooks and not m._forward_pre_hooks and not m._backward_hooks for m in network.modules()
        )
        assert torch.equal(images, kept) and not images.requires_grad and torch.is_grad_enabled()
    finally:
        network.eval()
        network.head.weight.requires_grad_(True)


@pytest.mark.parametrize("name", METHODS)
def test_wrong_inputs_are_said(name, network):
    with pytest.raises(ConfigError, match="expected images"):
        run(name, network.eval(), picture((32, 32)), torch.tensor([1]))


def test_the_command_names_every_method_and_its_cost():
    assert {name: method.cost for name, method in METHODS.items()} == moganet_cli.explain.METHODS


def linear(size, classes=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], classes)).eval()


def test_a_linear_network_has_a_closed_form():
    size = (9, 7)
    network, images, targets = linear(size), picture(size), torch.tensor([2, 0])
    weights = network[1].weight[targets].view(2, 3, *size).detach()
    found = METHODS["integrated-gradients"].explain(network, images, targets, steps=5)
    for one, weight, image, target in zip(found, weights, images, targets.tolist(), strict=True):
        assert torch.allclose(one.map, (weight * image).sum(0), atol=1e-5)
        gained = network(image[None])[0, target] - network(torch.zeros_like(image)[None])[0, target]
        assert abs(one.map.sum() - gained) < 1e-4 and one.details["completeness_gap"] < 1e-4
    assert torch.allclose(run("saliency", network, images, targets), weights.abs().amax(1), atol=1e-5)
    occluded = METHODS["occlusion"](network, images, targets, window=1)
    assert torch.allclose(occluded, (weights * images).sum(1), atol=1e-4)


def test_completeness_holds_for_a_network_of_ours(network):
    images, targets = picture((32, 32)), torch.tensor([1, 3])
    maps = METHODS["integrated-gradients"](network.eval(), images, targets, steps=100)
    for found, image, target in zip(maps, images, targets, strict=True):
        gained = (network(image[None]) - network(torch.zeros_like(image)[None]))[0, target]
        assert abs(found.sum() - gained) < 1e-3 * max(1, abs(gained))


def additive(segments, worth):
    """A function that sums what each superpixel is worth where it is shown as in the image, and not hidden."""

    def score(x):
        shown = torch.stack([x[:, 0][:, segments == s].std(1) > 0 for s in range(len(worth))], 1).double()
        value = 0.2 + shown @ worth
        return torch.stack([1 - value, value], 1)

    return score


@pytest.mark.parametrize("samples", [400, "auto"])
def test_lime_recovers_an_additive_function(samples):
    segments = (torch.arange(24)[:, None] // 8 * 4 + torch.arange(24)[None] // 6)[None]  # 3 x 4 patches
    worth = torch.linspace(-0.5, 0.6, 12, dtype=torch.double)
    images = torch.randn(1, 3, 24, 24)
    found = METHODS["lime"].explain(
        additive(segments[0], worth), images, torch.tensor([1]), superpixels=segments, samples=samples
    )[0]
    weights = torch.tensor(found.details["weights"])
    assert found.details["r2"] > 0.99 and (weights - worth).abs().max() < 0.05
    assert weights.argsort().tolist() == worth.argsort().tolist()
    assert torch.equal(found.map, weights.float()[segments[0]])
    if samples == "auto":
        assert found.details["samples"] == 200 and found.details["stable"] > 0.9


def test_lime_goes_on_until_the_ranking_is_stable():
    segments = (torch.arange(12)[:, None] // 4 * 3 + torch.arange(12)[None] // 4)[None]
    generator = torch.Generator().manual_seed(0)

    def noisy(worth):
        clean = additive(segments[0], worth)

        def score(x):
            return clean(x) + 0.3 * torch.randn(len(x), 2, generator=generator)

        return score

    images = torch.randn(1, 3, 12, 12)
    clear = torch.tensor([0.9, 0.8, 0.7, 0, 0, 0, 0, 0, 0], dtype=torch.double)
    close = torch.tensor([0.9, 0.8, 0.2, 0.14, 0, 0, 0, 0, 0], dtype=torch.double)
    used = [
        METHODS["lime"].explain(noisy(worth), images, torch.tensor([1]), superpixels=segments)[0].details["samples"]
        for worth in (clear, close)
    ]
    assert used[0] < used[1] <= 4000 and used[0] < 1000


def test_lime_agrees_with_captums():
    """captum's Lime, fed with the same kernel, ridge and hiding, and masks of its own."""
    from captum._utils.models.linear_model import SkLearnLinearModel
    from captum.attr import Lime

    image = torch.rand(1, 3, 16, 16)
    segments = torch.arange(16)[:, None] // 4 * 2 + torch.arange(16)[None] // 8  # 8 patches
    torch.manual_seed(0)
    weight = torch.randn(3 * 256)
    hidden = mean_colours(image[0], segments)

    def score(x):
        return torch.stack([x.flatten(1) @ weight, torch.sigmoid((x - 0.5).flatten(1) @ weight)], 1)

    def similarity(original, perturbed, mask, **_):
        return float(kernel(mask.numpy().astype(float))[0])

    torch.manual_seed(0)
    theirs = Lime(score, SkLearnLinearModel("linear_model.Ridge", alpha=1.0), similarity).attribute(
        image,
        target=1,
        baselines=hidden[None],
        feature_mask=segments[None, None],
        n_samples=2000,
        perturbations_per_eval=100,
        return_input_shape=False,
    )[0]
    ours = lime(score, image, torch.tensor([1]), samples=2000, superpixels=segments[None])[0].details["weights"]
    assert np.allclose(ours, theirs.numpy(), atol=0.02) and np.std(ours) > 0.1


def test_stability_tells_noise_from_a_ranking():
    masks = np.random.RandomState(0).rand(100, 6) < 0.5
    masks = np.stack([masks, ~masks], 1).reshape(200, 6)
    assert stability(masks, masks @ np.array([3.0, 2, 1, 0, 0, 0])) == 1
    assert stability(masks, np.random.RandomState(1).rand(200)) < 0.7


PATCH = (slice(4, 12), slice(20, 28))


def patch_network(x):
    """Look at the energy of one patch only."""
    seen = (4 * (x[:, :, *PATCH].square().mean((1, 2, 3)) - 0.5)).sigmoid()
    return torch.stack([1 - seen, seen], 1)


@pytest.mark.parametrize("name", ["lime", "occlusion"])
def test_deletion_finds_the_patch_that_a_network_looks_at(name):
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grid = torch.arange(32)[:, None] // 4 * 8 + torch.arange(32)[None] // 4
    options = {"samples": 1000, "superpixels": grid[None]} if name == "lime" else {"window": 8}
    found = METHODS[name](patch_network, image, torch.tensor([1]), **options)[0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[PATCH] = True
    assert found[inside].mean() > 5 * found[~inside].abs().mean()
    curves = insertion_deletion(patch_network, image[0], 1, found)
    inserted, deleted = random_areas(patch_network, image[0], 1)
    assert curves.deletion_area < 0.5 * deleted and curves.insertion_area > inserted + 0.1
    assert curves.deletion[0] == curves.insertion[-1] > 0.8 and curves.deletion[-1] < 0.2
    assert insertion_deletion(patch_network, image[0], 1, -found).deletion_area > deleted


def test_drawn_weights_change_a_map_that_follows_them(network):
    images, targets = picture((32, 32)), torch.tensor([1, 3])
    drawn = with_drawn_weights(network.eval(), seed=0)
    assert not torch.equal(drawn.head.weight, network.head.weight)
    assert drawn.head.weight.std().item() == pytest.approx(network.head.weight.std().item(), rel=0.2)
    assert torch.equal(with_drawn_weights(network, 0).head.weight, drawn.head.weight)
    one, other = (run("integrated-gradients", model, images, targets)[0] for model in (network, drawn))
    assert rank_correlation(one, one) == pytest.approx(1) and abs(rank_correlation(one, other)) < 0.8
    assert np.isnan(rank_correlation(one, torch.zeros_like(one)))
    assert "nan" not in correlation_text(rank_correlation(one, torch.zeros_like(one)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (32, 32), (60, 90)])
def test_superpixels_cover_any_image(kind, size):
    for image in (picture(size, 1, 1)[0], picture(size, 3, 1)[0], torch.zeros(3, *size)):
        labels, _ = find_superpixels(image, kind)
        assert labels.shape == size and labels.unique().tolist() == list(range(int(labels.max()) + 1))
        assert size == (1, 1) or labels.max() > 0
        hidden = mean_colours(image, labels)
        assert torch.allclose(hidden[:, labels == 0].mean(1), image[:, labels == 0].mean(1), atol=1e-5)


def test_gradcam_reads_any_stage_and_says_what_it_can_not(network):
    image, target = picture((64, 32), number=1), torch.tensor([1])
    sizes = [METHODS["gradcam"].explain(network, image, target, stage=s)[0].details["stage_size"] for s in (1, 2, 3, 4)]
    assert sizes == [[16, 8], [8, 4], [4, 2], [2, 1]]
    chosen = METHODS["gradcam"].explain(network, image, target)[0]  # by itself: no map of a place or two
    assert chosen.details["stage"] == 2 and chosen.map.std() > 0
    with pytest.raises(ConfigError, match="choose 1 to 4"):
        METHODS["gradcam"](network, image, target, stage=5)
    for name in ("gradcam", "orders"):
        with pytest.raises(ConfigError, match="MogaNet"):
            METHODS[name](linear((64, 32)), image, target)
    with pytest.raises(ConfigError, match="no class 99"):
        METHODS["occlusion"](network, image, torch.tensor([99]))


def test_orders_are_the_networks_own(network):
    image = picture((64, 64), number=1)
    found = METHODS["orders"].explain(network.eval(), image, torch.tensor([0]))[0]
    maps = network.forward_orders(image)
    assert [block["name"] for block in found.details["blocks"]] == [n[:-5] for n in maps if n.endswith(".gate")]
    for block in found.details["blocks"]:
        assert sum(block["shares"]) == pytest.approx(1, abs=1e-5) and min(block["shares"]) > 0
        assert block["gate"] == pytest.approx(maps[f"{block['name']}.gate"].abs().mean().item(), rel=1e-5)
    assert len(found.parts) == 16 and found.map.mean() == pytest.approx(1, abs=0.05)
    # Without weights behind a branch its share is nothing.
    with torch.no_grad():
        silent = with_drawn_weights(network)
        convolution = silent.blocks1[0].attn.value.PW_conv
        convolution.weight[:, -silent.blocks1[0].attn.value.channels[2] :] = 0
        first = METHODS["orders"].explain(silent, image, torch.tensor([0]))[0].details["blocks"][0]
    assert first["shares"][2] == 0


def test_an_overlay_shows_where_the_map_is_strong():
    image = np.full((100, 100, 3), 128, np.uint8)
    attribution = np.zeros((100, 100))
    attribution[:50], attribution[50:80] = 1.0, -1.0
    drawn = overlay(image, attribution, signed=True).astype(int)
    assert drawn.shape == (100, 100, 3)
    assert drawn[10, 10, 0] > drawn[10, 10, 2] + 50 and drawn[60, 10, 2] > drawn[60, 10, 0] + 20
    assert (drawn[90, 10] == 128).all()
    bordered = overlay(image, attribution, signed=True, segments=attribution > 0)
    assert (bordered[50] == 255).all() and not (bordered[49] == 255).all()
    for odd in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))):
        for signed in (True, False):
            assert overlay(image[:4, :4], odd, signed=signed).shape == (4, 4, 3)


def test_a_missing_extra_is_named(monkeypatch, network):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match=r"moganet\[explain\]"):
        run("occlusion", network, picture((8, 8)), torch.tensor([0, 1]))
