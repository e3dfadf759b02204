"""Train a plain convolutional network on CIFAR-10 by a recipe of ours, for `moganet interactions` to compare with.

Usage: python benchmarks/plain_network.py OUT [--recipe cifar10-1h] [--data cifar10[:PATH]] [--seed 0]

The network is timm's ResNet of basic blocks with the recipe's widths and MogaNet's stem: of like size and cost as the
recipe's own. Everything else is the recipe's: images, augmentation, optimizer, schedule, averages. A run that was
stopped goes on. OUT/plain.safetensors says how images are prepared; benchmarks/interaction_curves.py knows it as
timm:plain_resnet@OUT/plain.safetensors. OUT/result.json and OUT/metrics.csv say how good it became; they and
OUT/recipe.yaml (all but its network) are kept as results/plain-resnet-RECIPE-seedN.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from sides import without_path
from timm.models import register_model
from torch import nn

from moganet.config import ResolvedRecipe
from moganet.data import Dataset
from moganet.data.module import evaluation_loader
from moganet.data.preprocess import normalize
from moganet.engine.doctor import environment
from moganet.files import write_text
from moganet.machine import keep_freed_memory
from moganet.network.moganet import Stem
from moganet.tasks.module import Learning
from moganet.tasks.recipes import task_of
from moganet.training.assemble import build_module, build_trainer
from moganet.training.callbacks import RunProgress
from moganet.training.resolve import prepare

LAYERS, CHANNELS, STEM_STRIDE = (1, 3, 2, 1), (32, 96, 128, 160), 2


@register_model
def plain_resnet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build timm's ResNet of basic blocks in the shape of the recipe's MogaNet, with its stem."""
    options.pop("pretrained_cfg", None)
    options.pop("pretrained_cfg_overlay", None)
    options |= {"layers": LAYERS, "channels": CHANNELS, "stem_type": "deep", "stem_width": CHANNELS[0] // 2}
    network: Any = timm.create_model("resnet18", pretrained=False, **options)
    network.conv1 = Stem(3, CHANNELS[0], STEM_STRIDE)
    network.bn1, network.maxpool = nn.Identity(), nn.Identity()  # the stem has its own norm; act1 follows it
    return network  # type: ignore[no-any-return]


def main() -> None:
    """Train, measure on the test set, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="cifar10-1h")
    parser.add_argument("--data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in moganet train")
    asked = parser.parse_args()
    recipe, dataset = prepare(asked.recipe, asked.data, [*asked.set, f"seed={asked.seed}"])
    keep_freed_memory()
    network, progress = fit(recipe, dataset, asked.out)
    result = {
        "network": f"timm's resnet18 with layers={LAYERS}, channels={CHANNELS}, and MogaNet's stem",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "recipe": asked.recipe,
        "seed": asked.seed,
        "seconds": progress.elapsed,
        "images_per_second": progress.images_per_second,
        "test_top1": accuracy(network, dataset, recipe),
        "environment": environment().plain(),
    }
    metadata = {
        "preprocessing": recipe.preprocessing.model_dump_json(),
        "class_names": json.dumps(dataset.class_names),
    }
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, asked.out / "plain.safetensors", metadata)
    write_text(asked.out / "recipe.yaml", without_path(recipe).to_yaml())
    write_text(asked.out / "result.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def fit(recipe: ResolvedRecipe, dataset: Dataset, out: Path) -> tuple[nn.Module, RunProgress]:
    """Train as `moganet train` does, from the last epoch that a stopped run saved; give the averaged network."""
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    network = timm.create_model("plain_resnet", num_classes=len(dataset.class_names))
    network = network.to(memory_format=torch.channels_last)
    learning = Learning(recipe.loss, recipe.optimizer, recipe.schedule)
    kind = task_of(recipe)
    task, progress = kind.module(network, recipe, dataset, learning), RunProgress(kind.metrics)
    trainer = build_trainer(recipe, out, [progress, ModelCheckpoint(out, save_last=True, save_top_k=0)])
    last = out / "last.ckpt"
    trainer.fit(task, datamodule=build_module(recipe, dataset), ckpt_path=last if last.is_file() else None)
    return network, progress


@torch.no_grad()
def accuracy(network: nn.Module, dataset: Dataset, recipe: ResolvedRecipe) -> float:
    """Give the share of the test images that the network has right."""
    network.eval()
    right = 0
    for batch in evaluation_loader(dataset.split("test"), recipe.preprocessing, 250, None):
        right += int((network(normalize(batch.images, recipe.preprocessing)).argmax(1) == batch.targets).sum())
    return right / len(dataset.split("test"))


if __name__ == "__main__":
    main()
