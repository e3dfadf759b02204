"""A network of the caller's as a Predictor: what verbs give of it, what is refused, what can be saved."""

import copy

import numpy as np
import pytest
import timm
import torch
from small_model import need
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.models import resnet18

import moganet
from moganet.data.digits import open_digits
from moganet.errors import ConfigError, MogaNetError, WeightsError
from moganet.inference.own_network import _check_run
from moganet.notices import listening

HOW = {"size": 8, "channels": 1, "mean": 0.5, "std": 0.5, "crop_fraction": 1.0}
SPLITS = open_digits(None).splits


class Net(nn.Module):
    """A small classifier of digits. gives: what its forward does with logits and features."""

    def __init__(self, gives=lambda logits, features: logits, classes=10):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head, self.gives = nn.Linear(8 * 16, classes), gives

    def forward(self, x):
        features = nn.functional.adaptive_avg_pool2d(torch.relu(self.norm(self.convolution(x))), 4).flatten(1)
        return self.gives(self.head(features), features)


def of(split):
    return (split.images.float() / 255 - 0.5) / 0.5


@pytest.fixture(scope="module")
def trained():
    """Train for a moment by hand, and leave the network as a loop does: in training mode."""
    torch.manual_seed(0)
    network, x, y = Net(), of(SPLITS["train"]), SPLITS["train"].labels
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network


@pytest.fixture(scope="module")
def predictor(trained):
    return moganet.model(trained, range(10), HOW)


def test_its_figures_are_those_by_hand_and_the_network_stays_as_it_was(trained, predictor):
    before = copy.deepcopy(trained.state_dict())
    found = moganet.evaluate(predictor, "digits")
    assert trained.training and all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    plain = copy.deepcopy(trained).eval()
    with torch.no_grad():
        by_hand = (plain(of(SPLITS["test"])).argmax(1) == SPLITS["test"].labels).float().mean()
    assert found.top1 == pytest.approx(by_hand.item()) and found.top1 > 0.5
    assert (found.model, found.runtime, found.notes) == ("Net", "eager", ())
    own = TensorDataset(SPLITS["test"].images, SPLITS["test"].labels)
    assert moganet.evaluate(predictor, own).top1 == found.top1


def test_names_that_its_attributes_share_with_ours_mean_nothing(trained):
    network = copy.deepcopy(trained)
    network.fused = network.backbone = network.task = False
    first = SPLITS["test"].images[:1]
    assert moganet.model(network, range(10), HOW)(first) == moganet.model(trained, range(10), HOW)(first)


def test_verbs_work_with_it(predictor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = moganet.write_report(predictor, "digits")
    assert report.report == "Net-report.html" and (tmp_path / "Net-report.html").stat().st_size > 10_000
    image = SPLITS["test"].images[0, 0].numpy()
    assert len(moganet.explain(predictor, [image], ["saliency", "occlusion"]).images) == 2
    with pytest.raises(ConfigError, match="does not name its stages"):
        pytest.importorskip("captum")
        moganet.explain(predictor, [image], "gradcam")
    assert moganet.verify(predictor).fixtures == 4
    curves = moganet.interaction_curves(predictor, "digits", images=2, pairs=2, contexts=2, grid=4, filter="all")
    assert curves.models[0].name == "Net"
    speed = moganet.benchmark_infer(predictor, batch=2)
    assert speed.name == "Net" and speed.peak_memory_mb is None


@pytest.mark.slow  # four exports
def test_its_exports_answer_as_it_does_without_its_code(predictor, tmp_path, monkeypatch):
    need("openvino")
    monkeypatch.chdir(tmp_path)
    plain = moganet.export(predictor, "openvino", data="digits", limit=50)
    raw = moganet.export(predictor, "openvino", raw=True)
    assert (plain.out, raw.out, plain.agreement) == ("Net.xml", "Net-raw.xml", 1.0)
    image = SPLITS["test"].images[3, 0].numpy()
    for file in (plain.out, raw.out):
        assert moganet.load(file)(image)[0].names[0] == predictor(image)[0].names[0]
    assert moganet.verify("Net.xml").ok
    lines = list(moganet.info("Net.xml").lines())
    assert lines[0].startswith("Net.xml: python:Net") and "known to its caller alone" in lines[4]
    assert any("what the network costs is left out" in n for n in moganet.write_report("Net.xml", "digits").notes)


def test_another_runtime_is_compared_with_it_before_it_answers(trained, predictor):
    need("openvino")
    by_openvino = moganet.model(trained, range(10), HOW, runtime="openvino")
    x = of(SPLITS["test"])[:5]
    assert by_openvino.runtime == "openvino"
    torch.testing.assert_close(by_openvino.logits(x), predictor.logits(x), rtol=1e-4, atol=1e-4)
    wrong = lambda x: {"logits": np.zeros((len(x), 10), np.float32)}  # noqa: E731
    with pytest.raises(WeightsError, match="leave the runtime at eager"):
        _check_run(wrong, (8, 8), predictor.config)


def test_verify_notices_weights_that_were_changed(trained):
    predictor = moganet.model(trained, range(10), HOW)
    with torch.no_grad():
        predictor.model.head.bias += 1
    with pytest.raises(WeightsError, match="tensors of Net were changed"):
        moganet.verify(predictor)


def several(logits, features):
    return {"a": logits, "features": features}


@pytest.mark.parametrize(
    ("network", "options", "match"),
    [
        (Net(lambda y, f: (y, f)), {}, r"say which are the logits by output= one of \[0, 1\]"),
        (Net(several), {}, r"output= one of \['a', 'features'\]"),
        (Net(several), {"output": "b"}, "and no 'b'"),
        (Net(), {"output": 0}, "leave output out"),
        (Net(lambda y, f: y[:, :, None, None]), {}, r"a tensor \(2, 10, 1, 1\) for two images"),
        (Net(lambda y, f: y.softmax(1)), {}, "take its softmax away"),
        (Net(lambda y, f: None), {}, "gives a NoneType"),
        (Net(classes=1), {}, "a logit for each class"),
        (Net(classes=7), {}, "gives 7 logits, but class_names names 10"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 10)), {}, "preprocessing={'size': …"),
        (Net().to("meta"), {}, "has no weights"),
        (nn.Identity(), {}, "has no parameters"),
        (Net, {}, "make one of it"),
        (Net().state_dict(), {}, "holds tensors and no function"),
        ("runs/x", {}, "moganet.load opens"),
        (len, {}, "is no torch.nn.Module"),
        (torch.export.export(Net().eval(), (torch.zeros(2, 1, 8, 8),)).module(), {}, "can't take images"),
        (Net(), {"preprocessing": {"sizes": 8}}, "did you mean 'size'"),
        (Net(), {"preprocessing": 8}, "a dict such as"),
        (Net(), {"task": "segmentation"}, "choose one of classify, multilabel"),
        (Net(), {"class_names": "0123456789"}, "class_names is a str"),
    ],
)
def test_what_gives_no_logits_is_refused_in_a_line(network, options, match):
    with pytest.raises(MogaNetError, match=match) as caught:
        moganet.model(network, **{"class_names": range(10), "preprocessing": HOW, **options})
    assert "\n" not in str(caught.value)


def test_what_is_taken_without_having_been_said_is_said():
    x = torch.zeros(2, 1, 8, 8)
    expected = moganet.model(net := Net(), range(10), HOW).logits(x)
    net.gives = several
    assert torch.equal(moganet.model(net, range(10), HOW, output="a").logits(x), expected)
    net.gives = lambda logits, features: {"logits": logits, "features": features}
    with listening() as heard:
        assert torch.equal(moganet.model(net, range(10), HOW).logits(x), expected)
    assert "logits are taken" in heard[0]
    net.gives = lambda logits, features: logits
    with listening() as heard:
        nameless = moganet.model(net, preprocessing={"size": 8})
        moganet.model(nn.Sequential(copy.deepcopy(net), nn.Dropout()).half(), range(10), HOW)
        moganet.model(Net(lambda y, f: y + torch.rand(1)), range(10), HOW)
        moganet.model(Net(lambda y, f: y.sigmoid()), range(10), HOW, task="multilabel")
    assert nameless.class_names[9] == "class_9" and nameless.config.preprocessing.channels == 1
    for said in ("how its images were prepared: mean 0.5", "class_0 … class_9 are taken", "weights in float16"):
        assert any(said in note for note in heard), (said, heard)
    assert any("something in it draws" in note for note in heard)
    assert any("take its sigmoid away" in note for note in heard)
    wrapped = moganet.model(nn.DataParallel(net), range(10), HOW)
    assert torch.equal(wrapped.logits(x), expected) and isinstance(wrapped.model, Net)


def test_only_what_its_name_builds_again_is_saved(predictor, tmp_path):
    with pytest.raises(ConfigError, match="neither timm's nor a MogaNet"):
        predictor.save(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="neither timm's nor a MogaNet"):
        moganet.model(resnet18(num_classes=4), list("abcd"), {"size": 32}).save(tmp_path / "x.safetensors")
    x, grey = torch.randn(2, 1, 32, 32), {"size": 32, "mean": 0.5, "std": 0.5}
    mini = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2)}
    ours = timm.create_model("moganet_nano", num_classes=4, in_chans=1, gate="double", ls_init_value=1.0, **mini)
    theirs = timm.create_model("test_efficientnet", num_classes=4, in_chans=1)
    for name, network in (("ours", ours), ("theirs", theirs)):
        made = moganet.model(network, list("abcd"), grey, runtime="eager")
        file = made.save(tmp_path / f"{name}.safetensors")
        again = moganet.load(file, "eager")
        assert again.class_names == tuple("abcd") and again.config.preprocessing == made.config.preprocessing
        torch.testing.assert_close(again.logits(x), made.logits(x), rtol=1e-5, atol=1e-5)
        assert moganet.verify(file).ok
    with pytest.raises(ConfigError, match=r"does not end in \.safetensors"):
        made.save(tmp_path / "x.pt")
    odd = timm.create_model("moganet_nano", num_classes=4, in_chans=1, dilations=(1, 1, 1), ls_init_value=1.0, **mini)
    with pytest.raises(ConfigError, match="options that a model file does not keep"):
        moganet.model(odd, list("abcd"), grey).save(tmp_path / "odd.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.safetensors", "theirs.safetensors"]
