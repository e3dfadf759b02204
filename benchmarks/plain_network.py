"""Train a plain convolutional network of timm's on CIFAR-10, for `moganet interactions` to compare with.

Usage: python benchmarks/plain_network.py OUT.safetensors --data cifar10[:PATH] [--name resnet10t] [--epochs 2]
Held back are the recipe cifar10's 5,000 images. The file says how images are prepared, so that
`moganet interactions MODEL timm:resnet10t@OUT.safetensors` asks for nothing else.
"""

import argparse
import json
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import moganet
from moganet.config import load_recipe
from moganet.data.source import ArraySplit

BATCH, RATE, DECAY, PAD, SIZE = 128, 2e-3, 0.05, 4, 32


def main() -> None:
    """Train, measure on the test set, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--name", default="resnet10t")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="stop after so many, to try the script")
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    recipe = load_recipe("cifar10")
    dataset = moganet.open_data(asked.data).with_validation(recipe.data.validation, recipe.seed)
    mean, std = (torch.tensor(getattr(recipe.preprocessing, name)).view(-1, 1, 1) for name in ("mean", "std"))
    network = timm.create_model(asked.name, num_classes=10).to(memory_format=torch.channels_last)
    train, test = dataset.split("train"), dataset.split("test")
    assert isinstance(train, ArraySplit) and isinstance(test, ArraySplit)
    fit(network, train, (mean, std), asked.epochs, asked.steps)
    print(f"top-1 on the test set: {100 * accuracy(network, test, (mean, std)):.2f} %")
    metadata = {"preprocessing": recipe.preprocessing.model_dump_json(), "class_names": json.dumps(dataset.class_names)}
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, asked.out, metadata)


def fit(network: nn.Module, split: ArraySplit, scale: tuple[Tensor, Tensor], epochs: int, stop: int | None) -> None:
    """Train with AdamW and one cycle, on crops and flips, one crop a batch."""
    steps = epochs * (len(split) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
    done = 0
    for _ in range(epochs):
        for places in torch.randperm(len(split))[: len(split) // BATCH * BATCH].view(-1, BATCH):
            x = F.pad((split.images[places].float() / 255 - scale[0]) / scale[1], (PAD,) * 4, mode="reflect")
            top, left = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
            x = x[..., top : top + SIZE, left : left + SIZE]
            flipped = torch.rand(BATCH) < 0.5
            x[flipped] = x[flipped].flip(-1)
            logits = network(x.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, split.labels[places], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if done % 50 == 0:
                print(f"step {done} of {steps}: loss {loss.item():.4f}", flush=True)
            if done == stop:
                return


@torch.no_grad()
def accuracy(network: nn.Module, split: ArraySplit, scale: tuple[Tensor, Tensor]) -> float:
    """Give the share of a split's images that the network has right."""
    network.eval()
    right = 0
    for start in range(0, len(split), 250):
        x = (split.images[start : start + 250].float() / 255 - scale[0]) / scale[1]
        right += int((network(x).argmax(1) == split.labels[start : start + 250]).sum())
    return right / len(split)


if __name__ == "__main__":
    main()
