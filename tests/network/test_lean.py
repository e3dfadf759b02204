"""What training computes of the mixers is what they are, its gradients too, for less memory where that is asked for."""

from functools import partial

import pytest
import torch
from conftest import MINI
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

import moganet
from moganet import build_network
from moganet.errors import ConfigError
from moganet.network import lean
from moganet.network.blocks import MogaBlock

KINDS = [{}, {"gate": "double"}, {"channel_aggregation": "paddle"}, {"drop_path_rate": 0.2}, {"crop_kernels": False}]


def network(size=64, dtype=torch.float32, **options):
    torch.manual_seed(0)
    made = build_network("xt", **MINI, ls_init_value=0.1, **options).to(dtype).train()
    for name, parameter in made.named_parameters():
        if name.endswith("sigma.scale"):
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return made, torch.randn(4, 3, size, size, dtype=dtype).to(memory_format=torch.channels_last)


def plainly(made):
    """Let each block compute what is written in its parts."""
    for block in (module for module in made.modules() if isinstance(module, MogaBlock)):
        block.by_parts = False
    return made


def gradients(made, x, half=False):
    torch.manual_seed(1)  # of stochastic depth
    made.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = made(x)
    loss = F.cross_entropy(logits.float() if half else logits, torch.tensor([1, 2, 3, 4]))
    loss.backward()
    return loss.detach(), {name: each.grad.clone() for name, each in made.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("less", [False, True])
@pytest.mark.parametrize("size", [32, 64])  # at 32 px the last maps are smaller than their kernels
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_are_those_of_the_plain_form(kind, size, less):
    made, x = network(size, torch.float64, **kind)
    made.set_lean(less)
    loss, found = gradients(made, x)
    expected_loss, expected = gradients(plainly(made), x)
    assert abs(loss - expected_loss) < 1e-12 and found.keys() == expected.keys()
    for name, each in found.items():
        assert torch.allclose(each, expected[name], rtol=1e-7, atol=1e-11), name


def test_what_is_computed_again_has_the_same_bits():
    made, x = network()
    (loss, kept), (again, found) = gradients(made, x), gradients((made.set_lean(), made)[1], x)
    assert loss == again and all(torch.equal(kept[name], found[name]) for name in kept)


def test_in_f32_and_by_autocast_the_loss_stays_within_rounding():
    made, x = network()
    for half, tolerance in ((False, 1e-6), (True, 5e-3)):
        loss, _ = gradients(made, x, half)
        before, _ = gradients(plainly(network()[0]), x, half)
        assert abs(loss - before) < tolerance


def maps(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_each_part_has_the_gradients_of_its_function(check):
    def mixed(keep, step, h, kernel, shift, kernels, biases, factor):
        return lean.mixed(h, (kernel, shift), (kernels, biases), factor, step=step, keep=keep)

    tensors = maps((2, 4, 3, 2), (4, 1, 3, 3), (4,), (8, 4, 1, 1), (8,), (1, 2, 1, 1))
    for keep, step in ((False, 1), (True, 1), (False, 2)):
        assert check(partial(mixed, keep, step), tuple(tensors))
    tensors = maps((2, 3, 2, 2), (2, 3, 2, 2), (2, 3, 1, 1), (2,))
    assert all(check(partial(lean.gated, times=times), tuple(tensors)) for times in (1, 2))
    assert check(lean.decomposed, tuple(maps((2, 3, 2, 2), (1, 3, 1, 1))))


def kept_bytes(made, images):
    """Sum the storages that autograd keeps, each once, without the parameters."""
    kept = {parameter.untyped_storage().data_ptr(): 0 for parameter in made.parameters()}
    alive = []

    def keep(tensor):
        alive.append(tensor)
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(images)
    return sum(kept.values())


def test_lean_keeps_half_of_what_the_plain_form_keeps():
    made = build_network("xtiny").train().to(memory_format=torch.channels_last)
    images = torch.randn(3, 3, 64, 64).to(memory_format=torch.channels_last)

    def of_an_image():
        return (kept_bytes(made, images) - kept_bytes(made, images[:2])) / (64 * 64)

    usual = of_an_image()
    made.set_lean()
    less, plain = of_an_image(), (plainly(made), of_an_image())[1]
    assert less < 0.5 * plain and usual < 0.85 * plain


def test_a_loss_that_asks_for_gradients_of_gradients_gets_them():
    made, x = network(dtype=torch.float64)

    def of_second_order(form):
        x.requires_grad_().grad = None
        (slope,) = torch.autograd.grad(form(x).square().sum(), x, create_graph=True)
        form.zero_grad()
        slope.square().sum().backward()
        return form.patch_embed1.projection[0].weight.grad.clone()

    found = of_second_order(made)
    assert torch.allclose(found, of_second_order(plainly(made)), rtol=1e-6)


def test_recomputed_blocks_and_lean_ones_go_together():
    made, x = network(dtype=torch.float64)
    _, expected = gradients(made, x)
    made.set_lean()
    made.set_grad_checkpointing()
    _, found = gradients(made, x)
    assert all(torch.allclose(found[name], expected[name], rtol=1e-7, atol=1e-11) for name in expected)


def test_a_part_that_is_hooked_is_called():
    made, x = network()
    last, maps = made.blocks1[0], made.forward_orders(x)
    assert maps["blocks1.0.gate"].requires_grad and last.training


def test_a_run_that_keeps_less_ends_near_one_that_does_not_and_other_networks_refuse(tmp_path):
    tiny = {"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "trainer.max_steps": 4}
    losses = []
    for less in (False, True):
        out = tmp_path / str(less)
        moganet.train("digits", overrides=tiny | {"trainer.lean": less}, out=out)
        losses.append(moganet.evaluate(out)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    with pytest.raises(ConfigError, match=r"trainer.lean is for MogaNets, not ResNet; use trainer.grad_checkpointing"):
        moganet.train("digits", overrides={"network": "timm:test_resnet", "trainer.lean": True}, out=tmp_path / "no")
