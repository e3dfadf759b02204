"""The optimizer and the schedule of a recipe, by timm's names."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from moganet.config import OptimizerConfig, ScheduleConfig
from moganet.errors import ConfigError

FUSED = ("adam", "adamw", "sgd", "momentum")  # timm's names of torch's optimizers with a fused form
WARMUP_START = 0.01  # the share of the rate at which warm-up begins


def build_optimizer(network: nn.Module, config: OptimizerConfig, *, fused: bool = True) -> Optimizer:
    """Make a network's optimizer by timm's name. fused: one kernel for all parameters, where torch has one."""
    options: dict[str, Any] = {} if config.betas is None else {"betas": config.betas}
    if fused and config.name in FUSED:
        options["fused"] = True
    if config.spare is not None:
        if config.layer_decay is not None or config.decay_all:
            raise ConfigError("optimizer.spare says itself what decays; leave out layer_decay and decay_all")
        options["param_group_fn"] = partial(_groups, spare=config.spare, weight_decay=config.weight_decay)
    optimizer: Optimizer = create_optimizer_v2(
        network,
        config.name,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        filter_bias_and_bn=not config.decay_all,
        layer_decay=config.layer_decay,
        **options,
    )
    return optimizer


def _groups(network: nn.Module, spare: Sequence[str], weight_decay: float) -> list[dict[str, Any]]:
    """Divide parameters into those that decay, whatever timm would spare, and those whose names are spared."""
    named = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    spared = [one for name, one in named if any(text in name for text in spare)]
    kept = {id(one) for one in spared}
    decayed = [one for _, one in named if id(one) not in kept]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, steps: int) -> Scheduler:
    """Make a schedule of `steps` optimizer steps: linear warm-up from a hundredth, then the curve.

    After n steps the cosine gives min_lr + (lr - min_lr) (1 + cos(pi n / steps)) / 2, as torch's CosineAnnealingLR.
    """
    warmup = round(config.warmup * steps)
    rest = max(1, steps - warmup)
    constant = config.name == "constant"
    rate = optimizer.defaults["lr"]
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine" if constant else config.name,
        num_epochs=rest,  # in steps: one update an "epoch"
        updates_per_epoch=1,
        step_on_epochs=False,
        warmup_epochs=warmup,
        warmup_lr=WARMUP_START * rate,
        warmup_prefix=True,
        min_lr=rate if constant else config.min_lr,
        decay_rate=config.power if config.name == "poly" else config.decay_rate,
        decay_epochs=max(1, round(config.every * rest)),
        decay_milestones=[max(1, round(share * rest)) for share in config.milestones],
    )
    return scheduler
