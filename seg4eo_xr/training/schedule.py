"""The course of the learning rate over a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from seg4eo_xr.training.config import TrainConfig

# The rate at the end of a cosine, as a share of the first one.
_COSINE_END = 0.01


def make_schedule(
    optimizer: Optimizer, config: TrainConfig, *, steps_per_epoch: int
) -> dict[str, Any]:
    """Make the schedule that the options ask for, in the form that Lightning takes.

    Parameters
    ----------
    optimizer
        Its rate is ``config.learning_rate``.
    config
        ``scheduler_type``: ``reduce_plateau`` halves the rate after a third of the patience without
        a better validation loss; ``cosine`` falls to a hundredth over the whole training, and
        ``one_cycle`` (https://arxiv.org/abs/1708.07120) climbs over its first third to the rate and
        falls to nothing, both step by step.
    steps_per_epoch
        Optimiser steps an epoch.
    """
    steps = config.epochs * steps_per_epoch
    if config.scheduler_type == "reduce_plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=max(1, config.patience // 3))
        return {"scheduler": plateau, "interval": "epoch", "monitor": "val_loss"}
    if config.scheduler_type == "cosine":
        end = config.learning_rate * _COSINE_END
        return {"scheduler": CosineAnnealingLR(optimizer, steps, end), "interval": "step"}
    # one step more, since the schedule is advanced once after the last step of the training too
    cycle = OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    return {"scheduler": cycle, "interval": "step"}
