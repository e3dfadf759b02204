"""A run that is made longer, and one whose head alone learns first: each is what it would be at one go."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_resume import TINY, Crash, crash_at, outcome

import moganet
from moganet.errors import ConfigError
from moganet.inference import load_model_file
from moganet.tasks.classify.training import Classification
from moganet.tasks.held import Held
from moganet.tasks.recipes import load_recipe
from moganet.training.start import head_of

SHORT = {**TINY, "data.fraction": 0.2}  # two steps an epoch
CONSTANT = {**SHORT, "trainer.ema": 0.9, "schedule.name": "constant", "schedule.warmup": 0}
FROZEN = {**SHORT, "trainer.ema": 0.9, "start.freeze_epochs": 1, "optimizer.layer_decay": 0.8, "trainer.max_epochs": 3}


def train(out, epochs, settings=CONSTANT, **options):
    return moganet.train("digits", overrides={**settings, "trainer.max_epochs": epochs}, out=out, **options)


def rates(monkeypatch) -> list[tuple[int, float, bool]]:
    """Note the step, its learning rate, and whether the whole network learns, of all steps that come."""
    original, found = Classification.training_step, []

    def step(self, batch, batch_idx):
        whole = all(parameter.requires_grad for parameter in self.network.parameters())
        found.append((self.global_step, self.learning_rate, whole))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", step)
    return found


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """Give a finished run of two epochs."""
    out = tmp_path_factory.mktemp("short") / "run"
    train(out, 2)
    return out


def test_a_finished_run_that_is_made_longer_is_a_long_one(short, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="moganet")
    train(tmp_path / "whole", 3)
    out = Path(shutil.copytree(short, tmp_path / "run"))
    (out / "evaluation-test").mkdir()
    with monkeypatch.context() as patch:  # killed in its first step
        crash_at(patch, "training_step", 1)
        with pytest.raises(Crash):
            train(out, 3, resume=True)
    assert not (out / "result.json").exists() and load_recipe(out / "recipe.yaml").trainer.max_epochs == 3
    result = train(out, 3, resume=True)
    assert outcome(out)["rows"] == outcome(tmp_path / "whole")["rows"]  # the files say how they came to be
    for name in ("best", "last"):
        states = [load_model_file(folder / f"{name}.safetensors")[0] for folder in (out, tmp_path / "whole")]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    history = load_model_file(out / "last.safetensors")[1].provenance["lengthened"]
    assert history == [{"epochs": 2, "after_steps": 4}]
    assert result["epochs"] == 3 and json.loads((out / "result.json").read_text())["epochs"] == 3
    said = "lengthened from 2 to 3 epochs, after step 4: from here on the learning rate is that of a run so long"
    assert said in caplog.text and "evaluation-test in" in caplog.text


@pytest.mark.parametrize("finished", [pytest.param(True, marks=pytest.mark.slow), False])
def test_the_rate_is_that_of_a_run_so_long_from_its_beginning(finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        whole = rates(patch)
        train(tmp_path / "whole", 3, SHORT)
    if finished:
        train(tmp_path / "run", 2, SHORT)
    else:
        with monkeypatch.context() as patch:
            crash_at(patch, "training_step", 3)
            with pytest.raises(Crash):
                train(tmp_path / "run", 2, SHORT)
    found = rates(monkeypatch)
    train(tmp_path / "run", 3, SHORT, resume=True)
    assert found == whole[-len(found) :] and len(found) == (2 if finished else 4)


def test_a_run_that_ended_early_goes_on_with_new_patience(tmp_path):
    settings = {**CONSTANT, "trainer.early_stop": 1, "optimizer.lr": 1e-9}
    first = train(tmp_path / "run", 4, settings)
    assert first["epochs"] < 4
    assert train(tmp_path / "run", 4, settings, resume=True)["epochs"] == first["epochs"]  # it had ended
    longer = train(tmp_path / "run", 5, settings, resume=True)
    assert longer["epochs"] > first["epochs"] and any("patience" in note for note in longer["notes"])


def test_what_can_not_be_made_longer_is_said(short, tmp_path):
    out = Path(shutil.copytree(short, tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs is 2 there and 20 here \(--epochs 2 says so\)"):
        moganet.train(
            "digits",
            overrides={key: v for key, v in CONSTANT.items() if key != "trainer.max_epochs"},
            out=out,
            resume=True,
        )
    with pytest.raises(ConfigError, match=r"optimizer\.lr is"):
        train(out, 3, {**CONSTANT, "optimizer.lr": 1}, resume=True)
    (out / "last.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"no last\.ckpt any more"):
        train(out, 3, resume=True)
    assert (out / "result.json").is_file()
    steps = {**CONSTANT, "trainer.max_steps": 1}
    train(tmp_path / "steps", 2, steps)
    with pytest.raises(ConfigError, match="max_steps 1 ends the run"):
        train(tmp_path / "steps", 3, steps, resume=True)


def start_model(folder: Path) -> Path:
    """Write trained weights of the small network, whose head fits and whose statistics are not those of the digits."""
    train(folder / "start", 1, {**TINY, "seed": 1, "trainer.max_steps": 2})
    return folder / "start" / "last.safetensors"


@pytest.mark.parametrize("killed", [2, pytest.param(4, marks=pytest.mark.slow)])  # before the border, and behind it
def test_the_head_learns_first_and_then_all_does(killed, tmp_path, monkeypatch):
    start = start_model(tmp_path)
    with monkeypatch.context() as patch:
        found = rates(patch)
        states = []
        patch.setattr(
            Classification,
            "on_validation_epoch_start",
            lambda self: states.append({key: value.clone() for key, value in self.network.state_dict().items()}),
            raising=False,
        )
        train(tmp_path / "whole", 3, FROZEN, start=start)
    began = load_model_file(start)[0]
    assert {key for key in began if not torch.equal(began[key], states[0][key])} == {"head.weight", "head.bias"}
    assert sum(not torch.equal(began[key], states[-1][key]) for key in began) > len(began) / 2
    steps = len(found) // 3
    assert [whole for _, _, whole in found] == [False] * steps + [True] * 2 * steps
    *held, first, last = [rate for _, rate, _ in found[: steps + 1]] + [found[-1][1]]
    assert set(held) == {0.002} and first == 0.002 > last  # the schedule begins when all does
    with monkeypatch.context() as patch:
        crash_at(patch, "training_step", killed)
        with pytest.raises(Crash):
            train(tmp_path / "broken", 3, FROZEN, start=start)
    train(tmp_path / "broken", 3, FROZEN, start=start, resume=True)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_what_is_held_keeps_its_modes_and_what_never_learns_stays():
    network = moganet.build_network("moganet_nano", num_classes=3)
    held = Held(network, [network.patch_embed1], [network.head], 2)
    never = [id(parameter) for parameter in network.patch_embed1.parameters()]
    assert held.begin(0) and not held.begin(1)
    network.train()
    held.keep_modes()
    assert network.head.training and not any(m.training for m in network.modules() if m is not network.head)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert held.begin(2)
    network.train()
    held.keep_modes()
    assert network.blocks1.training and not network.patch_embed1.training
    assert {id(p) for p in network.parameters() if not p.requires_grad} == set(never)


def test_what_is_odd_about_a_head_that_learns_alone_is_said(caplog):
    caplog.set_level("INFO", logger="moganet")
    settings = {"start.freeze_epochs": 2, "trainer.max_epochs": 2, "trainer.devices": 1, "trainer.num_nodes": 1}
    recipe = load_recipe("digits", settings)
    head_of(moganet.build_network("moganet_nano"), recipe, resumed=False)
    assert "learns on random weights" in caplog.text and "the head alone learns, to the end" in caplog.text
    with pytest.raises(ConfigError, match="has no head"):
        head_of(moganet.build_network("moganet_nano", num_classes=0), recipe, resumed=False)
