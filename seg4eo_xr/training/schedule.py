"""The course of the learning rate over a training."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR, LinearLR, OneCycleLR, ReduceLROnPlateau

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from seg4eo_xr.training.config import TrainConfig

# The rate at the end of a cosine, as a share of the first one.
_COSINE_END = 0.01


def make_schedules(
    optimizer: Optimizer, config: TrainConfig, *, steps_per_epoch: int
) -> list[dict[str, Any]]:
    """Make the schedules that the options ask for, in the form that Lightning takes.

    Parameters
    ----------
    optimizer
        Its parameter groups keep the ratio of their rates.
    config
        ``scheduler_type``: ``reduce_plateau`` halves the rate after a third of the patience without
        a better validation loss; ``cosine`` falls to a hundredth over the whole training, and
        ``one_cycle`` (https://arxiv.org/abs/1708.07120) climbs over its first third to the rate and
        falls to nothing, both step by step. ``warmup_epochs`` lets the rate climb from
        ``warmup_lr`` first; in a cycle it takes the place of the climb that a cycle begins with.
    steps_per_epoch
        Optimiser steps an epoch.
    """
    steps, warmup = config.epochs * steps_per_epoch, config.warmup_epochs * steps_per_epoch
    first = config.warmup_lr / config.learning_rate
    if config.scheduler_type == "reduce_plateau":
        epochs = plateau_patience(config.patience)
        plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=epochs)
        schedules = [{"scheduler": plateau, "interval": "epoch", "monitor": "val_loss"}]
        if warmup:
            # multiplies the rate as it finds it, so that the plateau's halvings stay
            start = LinearLR(optimizer, first, total_iters=warmup)
            schedules.insert(0, {"scheduler": start, "interval": "step"})
        return schedules
    if config.scheduler_type == "cosine":
        share = partial(cosine_share, steps=steps, warmup=warmup, first=first)
        return [{"scheduler": LambdaLR(optimizer, share), "interval": "step"}]
    # one step more, since the schedule is advanced once after the last step of the training too
    total = steps + 1
    climb: dict[str, Any] = {}
    if warmup:
        climb = {"pct_start": (warmup + 1) / total, "div_factor": 1 / first}
    peaks = [group["lr"] for group in optimizer.param_groups]
    cycle = OneCycleLR(optimizer, peaks, total_steps=total, **climb)
    return [{"scheduler": cycle, "interval": "step"}]


def plateau_patience(patience: int) -> int:
    """Epochs without a better validation loss after which ``reduce_plateau`` halves the rate.

    Parameters
    ----------
    patience
        Epochs after which the training stops early.
    """
    return max(1, patience // 3)


def cosine_share(step: int, *, steps: int, warmup: int = 0, first: float = 0.0) -> float:
    """Share of the rate at a step: a straight climb, then a cosine to a hundredth.

    Parameters
    ----------
    step
        Steps done.
    steps
        Steps of the whole training.
    warmup
        Steps of the climb.
    first
        Share at which the climb begins.

    Examples
    --------
    >>> [round(cosine_share(step, steps=12, warmup=2, first=0.5), 3) for step in (0, 1, 2, 7, 12)]
    [0.5, 0.75, 1.0, 0.505, 0.01]
    """
    if step < warmup:
        return first + (1 - first) * step / warmup
    turn = math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))
    return _COSINE_END + (1 - _COSINE_END) * (1 + math.cos(turn)) / 2
