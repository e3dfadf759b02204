"""Training follows the PaddlePaddle port's own run, step by step."""

import pytest
import torch
from conftest import GOLDEN, golden
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from moganet import build_network
from moganet.config import ScheduleConfig
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of
from moganet.tasks.classify.description import ClassifyDescription
from moganet.tasks.classify.training import Classification
from moganet.tasks.module import Learning
from moganet.tasks.optimize import build_schedule
from moganet.tasks.recipes import load_recipe

STEPS, BATCH = 20, 16


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")  # as here
def test_the_published_recipe_follows_the_ports_losses_for_20_steps(tmp_path):
    expected = golden("mini_paddle_expected")
    checkpoint = read_checkpoint(GOLDEN / "mini_paddle.pdparams")
    architecture = architecture_of(checkpoint)
    network = build_network(architecture.name, **architecture.options())
    network.load_state_dict(checkpoint.state, strict=False)
    recipe = load_recipe("cifar10-224")
    losses, rates = [], []

    class Recorded(Classification):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.item())
            rates.append(self.optimizers().param_groups[0]["lr"])
            return loss

    description = ClassifyDescription(class_names=tuple("0123456789"))
    task = Recorded(network, description, Learning(recipe.loss, recipe.optimizer, recipe.schedule))
    pairs = list(zip(expected["train_images"], expected["train_labels"], strict=True))
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, DataLoader(pairs, BATCH))
    assert rates == pytest.approx(expected["train_lrs"].tolist(), rel=1e-6)
    assert losses == pytest.approx(expected["train_losses"].tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_schedule_warms_up_and_ends_where_it_should(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, ScheduleConfig(name=name, warmup=0.1, min_lr=0.01), 100)
    rates = []
    for step in range(101):
        schedule.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.01)
    assert rates[10] == max(rates) == pytest.approx(1.0)
    assert rates[:11] == sorted(set(rates[:11]))
    assert rates[100] == pytest.approx(1.0 if name == "constant" else 0.01)
