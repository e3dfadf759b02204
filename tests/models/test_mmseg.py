"""Whole segmenters in mmsegmentation's layout: known by what they hold, said what is guessed, written key for key."""

import json

import numpy as np
import pytest
import torch
from dense_files import FILES, filled, golden_dense, published, scene
from safetensors.torch import save_file

import moganet
from moganet.config import Architecture
from moganet.data.ade20k import ade20k
from moganet.errors import ConfigError, WeightsError
from moganet.inference.load import load
from moganet.models.build import build_blank, build_network_for
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of
from moganet.models.reading.mm_config import parse, read_config
from moganet.models.release import check_release
from moganet.network import VARIANTS
from moganet.network.releases import SEGMENTERS
from moganet.training.start import start_from

SMALL = {"name": "fpn", "neck": 8, "channels": 8}
CONFIG = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
img_norm_cfg = dict(mean=[127.5, 127.5, 127.5], std=[51.0, 51.0, 51.0], to_rgb=True)
model = dict(
    type='EncoderDecoder',
    decode_head=dict(type='FPNHead', align_corners=False),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
data = dict(test=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=(2048, 1024), flip=False, transforms=[
        dict(type='Resize', keep_ratio=True),
        dict(type='Normalize', mean=[127.5, 127.5, 127.5], std=[51.0, 51.0, 51.0], to_rgb=True)])]))
"""


def small(classes=150, head=SMALL):
    architecture = Architecture(name="moganet_nano", head=head, num_classes=classes)
    return filled({name: torch.empty(t.shape) for name, t in build_blank(architecture).state_dict().items()})


@pytest.fixture(scope="module")
def state():
    return small()


def written(path, content, **metadata):
    save_file(content, path, metadata) if path.suffix == ".safetensors" else torch.save(content, path)
    return path


def named(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("name", ["semantic_fpn_xtiny", pytest.param("upernet_xtiny", marks=pytest.mark.slow)])
def test_a_published_file_gives_the_references_logits_at_the_inputs_size(name, tmp_path):
    expected, told = golden_dense(name)
    how = told["cases"]["odd"]
    path = written(tmp_path / "x.pth", {"meta": {"epoch": 1}, "state_dict": published(name)})
    predictor = moganet.load(path, runtime="eager")
    assert (predictor.config.architecture.name, predictor.config.architecture.head.name) == FILES[name]
    x = scene(how["height"], how["width"], how["seed"])
    for given in (x, x.numpy()):
        logits = predictor.outputs(given)["logits"]
        assert logits.shape == (1, 150, how["height"], how["width"])
    wanted = expected["odd.logits"].numpy()
    assert np.abs(logits[0, :, ::16, ::16] - wanted).max() < 1e-4 * wanted.std()
    assert predictor.class_names == ade20k()[0] and predictor.config.task.palette == ade20k()[1]


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (lambda state: {"state_dict": state, "optimizer": {"state": {}}}, "plain"),
        (lambda state: state, "plain"),
        (lambda state: {"state_dict": named("module.", state)}, "plain"),
        (lambda state: {"model": named("_orig_mod.", state)}, "plain"),
        (lambda state: {"state_dict": named("ema.", state)}, "ema"),
        (lambda state: {"state_dict_ema": named("module.", state)}, "ema"),
    ],
)
def test_it_is_found_behind_any_prefix(make, weights, state, tmp_path):
    checkpoint = read_checkpoint(written(tmp_path / "x.pth", make(state)))
    assert (checkpoint.format, checkpoint.weights) == ("mmseg", weights) and checkpoint.state.keys() == state.keys()


def test_of_plain_and_averaged_weights_those_asked_for_are_taken(state, tmp_path):
    other = {name: tensor + 1 for name, tensor in state.items()}
    path = written(tmp_path / "x.pth", {"state_dict": state, "state_dict_ema": other})
    for weights, wanted in (("plain", state), ("ema", other)):
        found = load(path, "eager", weights=weights).model.state_dict()
        assert torch.equal(found["decode_head.conv_seg.bias"], wanted["decode_head.conv_seg.bias"])


def test_a_safetensors_file_may_say_its_classes(state, tmp_path):
    names = [f"thing {i}" for i in range(150)]
    path = written(tmp_path / "x.safetensors", named("module.", state), meta=json.dumps({"CLASSES": names}))
    assert load(path, "eager").class_names == tuple(names)
    assert load(written(tmp_path / "y.safetensors", state), "eager").class_names == ade20k()[0]


def test_classes_colours_and_how_it_was_tested_are_read(state, tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    names = tuple(f"thing {i} " for i in range(150))
    meta = {"CLASSES": names, "PALETTE": np.full((150, 3), 7), "config": CONFIG, "hook_msgs": {"best": np.float64(0.5)}}
    config = load(written(tmp_path / "x.pth", {"meta": meta, "state_dict": state}), "eager").config
    assert config.class_names == tuple(name.strip() for name in names) and config.task.palette == ((7, 7, 7),) * 150
    own = config.preprocessing
    assert (own.size, own.crop_mode, own.multiple, own.antialias) == ((1024, 2048), "fit", 1, False)
    assert own.mean == (0.5, 0.5, 0.5) and own.std == (0.2, 0.2, 0.2)
    assert config.task.window.size == (512, 512) and config.task.window.stride == (341, 341)
    assert "guess" not in caplog.text


def test_what_it_does_not_say_is_said_to_be_a_guess(tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    config = load(written(tmp_path / "x.pth", {"state_dict": small(19)}), "eager").config
    assert config.class_names[:2] == ("class_0", "class_1") and config.task.palette == ()
    assert "guesses" in caplog.text and "512x2048" in caplog.text and "class_0 … class_18" in caplog.text


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"CLASSES": ("a", "b")}, "2 classes"),
        ({"CLASSES": 5}, "no list of names"),
        ({"CLASSES": (1, 2)}, "no list of names"),
        ({"config": CONFIG.replace("(341, 341)", "(900, 900)")}, "leave pixels out"),
        ({"config": CONFIG.replace("(2048, 1024)", "(9999999, 1)")}, "preprocessing|size"),
    ],
)
def test_a_meta_that_can_not_be_is_refused_in_one_line(meta, said, state, tmp_path):
    with pytest.raises(WeightsError, match=said) as caught:
        load(written(tmp_path / "x.pth", {"meta": meta, "state_dict": state}), "eager")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("palette", ["xx", [[1, 2, 3]], [[0, 0, 999]] * 150, [["a", "b", "c"]] * 150, 3])
def test_colours_that_are_none_are_passed_over_and_said(palette, state, tmp_path, caplog):
    path = written(tmp_path / "x.pth", {"meta": {"PALETTE": palette}, "state_dict": state})
    assert load(path, "eager").config.task.palette == ade20k()[1]
    assert "passed over" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "model = (", "x = __import__('os').system('true')", "[" * 5000, "data = dict(test=3)", "a = 1\0", None]
)
def test_a_configuration_that_says_nothing_is_none(text):
    assert read_config(text) is None


def test_nothing_of_a_configuration_is_run():
    assert parse("a = dict(b=__import__('os'), c=(1, -2.5), d=[None, {'e': True}])") == {
        "a": {"b": None, "c": (1, -2.5), "d": [None, {"e": True}]}
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decode_head.conv_seg.weight": torch.zeros(150)}, "conv_seg"),
        ({"decode_head.conv_seg.bias": torch.zeros(3)}, "conv_seg.bias"),
        ({"neck.lateral_convs.0.conv.weight": torch.zeros(())}, "lateral_convs"),
        ({"decode_head.more": torch.zeros(3)}, "unexpected: decode_head.more"),
        ({"neck.fpn_convs.1.conv.bias": None}, "missing: neck.fpn_convs.1"),
        ({"backbone.blocks3.0.mlp.fc1.weight": None}, "missing"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, said, state, tmp_path):
    changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
    with pytest.raises(WeightsError, match=said) as caught:
        load(written(tmp_path / "x.pth", {"state_dict": changed}), "eager")
    assert "\n" not in str(caught.value)


def test_to_which_sides_upernet_pools_is_asked_where_they_are_not_the_references(tmp_path):
    state = small(5, {"name": "upernet", "channels": 8, "pools": (1, 2, 4)})
    with pytest.raises(WeightsError, match="pools to 3 maps, of sides that it does not say"):
        load(written(tmp_path / "x.pth", {"state_dict": state}), "eager")
    config = CONFIG.replace("type='FPNHead'", "type='UPerHead', pool_scales=(1, 2, 4)")
    path = written(tmp_path / "x.pth", {"state_dict": state, "meta": {"config": config}})
    assert load(path, "eager").config.architecture.head.pools == (1, 2, 4)


@pytest.mark.parametrize(("name", "head"), [(name, ("fpn", "upernet")[i % 2]) for i, name in enumerate(VARIANTS)])
def test_every_variant_and_head_is_told_by_its_shapes(name, head, state, tmp_path):
    shaped = build_blank(Architecture(name=name, head=head, num_classes=7, in_chans=1)).state_dict()
    light = {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in shaped.items()}
    read = read_checkpoint(written(tmp_path / "x.pth", {"state_dict": state}))
    found = architecture_of(type(read)("", light))
    assert (found.name, found.head.name, found.num_classes, found.in_chans) == (name, head, 7, 1)


@pytest.mark.parametrize("head", [SMALL, {"name": "upernet", "channels": 8, "auxiliary": 4}], ids=["fpn", "upernet"])
def test_it_goes_into_our_file_and_back_key_for_key(head, tmp_path):
    state = small(5, head)
    names = ("a", "b", "c", "d", "e")
    meta = {"CLASSES": names, "PALETTE": [[i, 0, 9] for i in range(5)], "config": CONFIG.replace("1024", "64")}
    first = written(tmp_path / "x.pth", {"meta": meta, "state_dict": state})
    moganet.convert(first, tmp_path / "x.safetensors")
    result = moganet.convert(tmp_path / "x.safetensors", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert result.target == "mmseg" and back["meta"] == {"CLASSES": names, "PALETTE": meta["PALETTE"]}
    assert back["state_dict"].keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in back["state_dict"].items())
    configs = [load(tmp_path / name, "eager").config for name in ("x.safetensors", "back.pth", "x.pth")]
    assert configs[0].changed(sha256="") == configs[1].changed(sha256="")
    assert configs[0].task == configs[2].task and configs[0].preprocessing == configs[2].preprocessing
    assert moganet.verify(tmp_path / "x.safetensors").fixtures == 1
    with pytest.raises(ConfigError, match="can't hold a network with the head"):
        moganet.convert(first, tmp_path / "x.pdparams")


def test_the_layout_is_for_segmenters(tmp_path):
    with pytest.raises(ConfigError, match="can't hold a classifier"):
        moganet.convert("moganet_nano.digits", tmp_path / "x.pth", target="mmseg")


def test_other_classes_start_only_the_last_convolution_anew(state, tmp_path):
    path = written(tmp_path / "x.pth", {"state_dict": state})
    predictor = load(path, "eager", num_classes=4)
    assert predictor.outputs(torch.zeros(1, 3, 33, 64))["logits"].shape == (1, 4, 33, 64)
    found = predictor.model.state_dict()
    other = {name for name in found if found[name].shape != state[name].shape}
    assert other == {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    assert predictor.config.task.palette == () and len(predictor.class_names) == 4
    with pytest.raises(ConfigError, match="network with the head"):
        load(path, "eager", num_classes=0)


def test_info_opens_with_what_a_person_asks(state, tmp_path):
    path = written(tmp_path / "x.pth", {"state_dict": state})
    found = moganet.info(path)
    text = "\n".join(found.lines())
    for part in ("moganet_nano with the head fpn, segment", "classes: 150 (wall", "512x2048", f"{found.parameters:,}"):
        assert part in text
    assert found.input_size == (512, 2048) and found.layers[-1].name == "decode_head.conv_seg"


HEADS = {"none": None, "fpn": SMALL, "wider": {**SMALL, "neck": 16}, "upernet": {"name": "upernet", "channels": 8}}


@pytest.mark.parametrize(
    ("source", "target", "taken"),
    [
        ("none", "fpn", ["backbone."]),
        ("fpn", "none", ["patch_embed", "blocks", "norm"]),
        ("fpn", "upernet", ["backbone."]),
        ("fpn", "wider", ["backbone.", "decode_head.scale_heads"]),
        ("fpn", "fpn", ["backbone.", "neck.", "decode_head.scale_heads"]),
    ],
)
def test_a_network_starts_from_one_with_another_head(source, target, taken, tmp_path):
    theirs, own = (
        Architecture(name="moganet_nano", head=HEADS[head], num_classes=number)
        for head, number in ((source, 6), (target, 2))
    )
    drawn = filled({name: torch.empty(t.shape) for name, t in build_blank(theirs).state_dict().items()})
    path, network = written(tmp_path / "x.pth", {"state_dict": drawn}), build_network_for(own)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start_from(network, load(path, "eager"), ("a", "b"), own)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert all(name.startswith(tuple(taken)) for name in changed)
    assert all(any(name.startswith(start) for name in changed) for start in taken)
    counted = {name for name in before if not name.endswith("num_batches_tracked") and "backbone" in name}
    assert counted <= changed


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_published_ones_have_names(name):
    variant, head = name.removeprefix("moganet_").split(".")
    assert name in moganet.list_models(pretrained=True)
    file = SEGMENTERS[name].file
    assert variant in file and file.startswith(head.partition("_")[0]) and SEGMENTERS[name].url.endswith(file)


def test_a_download_is_checked_to_be_the_segmenter(state, tmp_path):
    path = written(tmp_path / "x.pth", {"state_dict": published("semantic_fpn_xtiny")})
    check_release("moganet_xtiny.fpn_ade20k", path)
    for other in ("moganet_xtiny.upernet_ade20k", "moganet_tiny.fpn_ade20k", "moganet_xtiny.in1k"):
        with pytest.raises(WeightsError, match="holds a network"):
            check_release(other, path)
