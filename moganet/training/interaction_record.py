"""The strength of interactions while a network is trained, from a small budget (interactions.csv in the run)."""

import csv
import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

from moganet.config import Preprocessing
from moganet.data import Split
from moganet.errors import InteractionError
from moganet.files import atomic_path
from moganet.inference.eager import EagerRun
from moganet.inference.interaction_images import ImageChoice, input_of
from moganet.inference.masking import MaskedImage
from moganet.interactions import pair_interactions, published_orders, sample_contexts, sample_pairs, strength
from moganet.interactions.sampling import count_pairs, usual_grid
from moganet.tasks.module import TaskModule
from moganet.training.run_folder import INTERACTIONS_FILE

logger = logging.getLogger(__name__)
IMAGES, PAIRS, CONTEXTS = 8, 4, 10  # about 14,000 evaluations; always the same ones, so that epochs compare
BATCH = 64


class InteractionRecord(pl.Callback):
    """Measure J^(m) on a few validation images after every N-th epoch, and add it to the run's interactions.csv.

    The images are taken whether they are classified correctly or not, so that they stay the same. Draws nothing from
    the generators that the run uses. What a stopped run wrote of later epochs is replaced.
    """

    def __init__(self, out: Path, split: Split, preprocessing: Preprocessing, every: int) -> None:
        self.path, self.every, self.preprocessing = out / INTERACTIONS_FILE, every, preprocessing
        self.images = list(ImageChoice(split, (), 0, only_correct=False).first(IMAGES))
        self.grid = usual_grid(min(preprocessing.size))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every or not trainer.is_global_zero or trainer.sanity_checking:
            return
        assert isinstance(pl_module, TaskModule)
        try:
            rows = self.measure(pl_module.network)
        except InteractionError as error:  # a network that does not answer with finite numbers yet
            logger.warning("no interactions of epoch %d: %s", epoch, error)
            return
        self._write(epoch, [{"epoch": epoch, "step": trainer.global_step, **row} for row in rows])

    def measure(self, network: nn.Module) -> list[dict[str, int | float]]:
        """Give the curve's rows for a network, whose weights and mode stay as they are."""
        device, run = next(network.parameters()).device, EagerRun(network, "f32")
        n, found = self.grid**2, []
        for chosen in self.images:
            image, target = input_of(self.preprocessing, chosen.sample.image).to(device), chosen.sample.target
            absent = torch.zeros_like(image)
            value = MaskedImage(lambda x: run.tensors(x)["logits"], image, absent, target, "log-odds", self.grid)
            pairs = sample_pairs(self.grid, min(PAIRS, count_pairs(self.grid)), chosen.identity)
            contexts = sample_contexts(n, pairs, published_orders(n), CONTEXTS, chosen.identity)
            found.append(pair_interactions(value, pairs, contexts, batch_size=BATCH))
        return strength(found).rows()

    def _write(self, epoch: int, rows: list[dict[str, float]]) -> None:
        earlier: list[dict[str, str]] = []
        if self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                earlier = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows([*earlier, *rows])
