"""Losses over logits and class indices; ignored pixels count in none of them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss

IGNORE_INDEX = 255


def cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, *, mode: Literal["binary", "multiclass"]
) -> torch.Tensor:
    """Mean cross-entropy of the labelled pixels.

    Parameters
    ----------
    logits
        ``(N, 1, y, x)`` where binary, else ``(N, class, y, x)``.
    target
        Class indices ``(N, y, x)``; 255 is ignored.
    mode
        ``binary``: the logit is that of class 1.

    Returns
    -------
    Tensor
        A number; 0 where no pixel is labelled.
    """
    labelled = target != IGNORE_INDEX
    if mode == "binary":
        each = F.binary_cross_entropy_with_logits(
            logits[:, 0], (target == 1).to(logits.dtype), reduction="none"
        )
        total = torch.where(labelled, each, 0.0).sum()
    else:
        total = F.cross_entropy(logits, target.long(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total / labelled.sum().clamp(min=1)


def dice_ce_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    mode: Literal["binary", "multiclass"],
    dice_weight: float = 0.5,
) -> torch.Tensor:
    """Weighted mean of the Dice loss and cross-entropy.

    Dice (https://doi.org/10.1109/3DV.2016.79) is taken over the whole batch, a class each, and
    averaged; classes without a pixel in the batch add nothing.

    Parameters
    ----------
    logits
        ``(N, 1, y, x)`` where binary, else ``(N, class, y, x)``.
    target
        Class indices ``(N, y, x)``; 255 is ignored.
    mode
        ``binary``: the logit is that of class 1.
    dice_weight
        Share of Dice, 0 to 1.

    Returns
    -------
    Tensor
        A number; 0 where no pixel is labelled.

    Examples
    --------
    >>> sure = torch.tensor([[[[-50.0, 50.0]]]])
    >>> round(dice_ce_loss(sure, torch.tensor([[[0, 1]]]), mode="binary").item(), 3)
    0.0
    """
    dice = DiceLoss(mode=mode, from_logits=True, ignore_index=IGNORE_INDEX)
    entropy = cross_entropy(logits, target, mode=mode)
    overlap: torch.Tensor = dice(logits, target.long())
    return dice_weight * overlap + (1 - dice_weight) * entropy
