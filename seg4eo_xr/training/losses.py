"""The losses of a training; pixels without a label or data have no part in any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss, TverskyLoss

if TYPE_CHECKING:
    from seg4eo_xr.training.config import LossType, Mode, TrainConfig

IGNORE_INDEX = 255

# The least that a pixel's focal factor is taken for: powers below 1 have no slope at 0.
_LEAST_ERROR = 1e-6
_COMBO = {"ce": 0.4, "dice": 0.3, "focal": 0.3}


class SegmentationLoss(torch.nn.Module):
    """The loss that the options of a training ask for.

    Cross-entropy and focal loss (https://doi.org/10.1109/ICCV.2017.324) are weighted means over the
    labelled pixels. The focal loss plays down a pixel by how sure the network is of its right
    class, among all classes as cross-entropy has it. Dice (https://doi.org/10.1109/3DV.2016.79) and
    Tversky (https://doi.org/10.1007/978-3-319-67389-9_44) are taken over the whole batch, a class
    each, and averaged; classes without a pixel in the batch add nothing.

    Parameters
    ----------
    config
        ``loss_type`` and the numbers that belong to it.
    mode
        ``binary``: one logit, that of class 1; Dice and Tversky are those of class 1.
    class_weights
        A weight for each class; none where all count alike. They weigh the pixels of cross-entropy
        and focal loss, and in ``multiclass`` mode the classes of Dice and Tversky.

    Examples
    --------
    >>> from seg4eo_xr.training.config import TrainConfig
    >>> loss = SegmentationLoss(TrainConfig(loss_type="combo"), "binary")
    >>> sure = torch.tensor([[[[-50.0, 50.0]]]])
    >>> round(loss(sure, torch.tensor([[[0, 1]]])).item(), 3)
    0.0
    """

    weights: torch.Tensor | None

    def __init__(
        self, config: TrainConfig, mode: Mode, class_weights: tuple[float, ...] | None = None
    ) -> None:
        super().__init__()
        self.shares = loss_shares(config.loss_type, config.dice_weight)
        self.mode = mode
        self.gamma = config.focal_gamma
        self.alpha = config.focal_alpha
        numbers = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("weights", numbers, persistent=False)
        region: dict[str, Any] = {"ignore_index": IGNORE_INDEX}
        if mode == "multiclass":
            region["class_weights"] = numbers
        self._dice = DiceLoss(mode, **region)
        self._tversky = TverskyLoss(
            mode, alpha=config.tversky_alpha, beta=config.tversky_beta, **region
        )

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of a batch.

        Parameters
        ----------
        logits
            ``(N, 1, y, x)`` where binary, else ``(N, class, y, x)``.
        target
            Class indices ``(N, y, x)``; 255 is ignored.

        Returns
        -------
        Tensor
            A number; 0, with a gradient of 0, where no pixel is labelled.
        """
        target = target.long()
        parts = {
            "ce": self.cross_entropy,
            "dice": self._dice,
            "focal": self.focal,
            "tversky": self._tversky,
        }
        each = [share * parts[name](logits, target) for name, share in self.shares.items()]
        total: torch.Tensor = torch.stack(each).sum()
        return total

    def cross_entropy(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, the mean of the labelled pixels by their weights."""
        return self._mean(self._entropy(logits, target), target)

    def focal(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Focal loss, the mean of the labelled pixels by their weights."""
        entropy = self._entropy(logits, target)
        error = (1 - torch.exp(-entropy)).clamp(min=_LEAST_ERROR)
        focal = error**self.gamma * entropy
        if self.mode == "binary":
            focal = torch.where(target == 1, self.alpha, 1 - self.alpha) * focal
        return self._mean(focal, target)

    def _entropy(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each pixel, ``(N, y, x)``; 0 where ignored."""
        if self.mode == "multiclass":
            return F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")
        truth = (target == 1).to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
        return torch.where(target != IGNORE_INDEX, each, 0.0)

    def _mean(self, each: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        labelled = target != IGNORE_INDEX
        if self.weights is None:
            return each.sum() / labelled.sum().clamp(min=1)
        weights = torch.where(labelled, self.weights[torch.where(labelled, target, 0)], 0.0)
        total = weights.sum()
        return (weights * each).sum() / torch.where(total > 0, total, 1.0)


def loss_shares(loss_type: LossType, dice_weight: float) -> dict[str, float]:
    """Losses that a loss is mixed from, with their shares.

    Examples
    --------
    >>> loss_shares("dice_ce", 0.25)
    {'dice': 0.25, 'ce': 0.75}
    """
    if loss_type == "combo":
        return dict(_COMBO)
    if loss_type in ("dice_ce", "focal_dice"):
        other = "ce" if loss_type == "dice_ce" else "focal"
        return {"dice": dice_weight, other: 1 - dice_weight}
    return {loss_type: 1.0}
