"""One training as Lightning runs it: batches in, loss and scores out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.training.augmentation import augment, augmentation_generator
from seg4eo_xr.training.losses import IGNORE_INDEX, dice_ce_loss
from seg4eo_xr.training.metrics import Scores, scores
from seg4eo_xr.training.schedule import make_schedule

if TYPE_CHECKING:
    from seg4eo_xr.scenes.contract import Contract
    from seg4eo_xr.training.config import Mode, TrainConfig

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Validation:
    """What one pass over the validation patches found.

    Parameters
    ----------
    loss
        Mean of the batches' losses, weighted by their labelled pixels.
    scores
        Scores of all labelled pixels.
    """

    loss: float
    scores: Scores


class PixelMean(Metric):
    """Mean of the losses of batches, weighted by their labelled pixels; NaN shows through."""

    total: torch.Tensor
    pixels: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("pixels", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: torch.Tensor, label: torch.Tensor) -> None:
        """Add the loss of a batch with these labels."""
        pixels = (label != IGNORE_INDEX).sum()
        self.total += loss * pixels
        self.pixels += pixels

    def compute(self) -> torch.Tensor:
        """Mean so far."""
        return self.total / self.pixels


class SegmentationTask(pl.LightningModule):
    """Train a network on raw batches ``{"image": (N, band, y, x), "label": (N, y, x)}``.

    Images come as they are stored and are normalised on the device by the contract; labels are
    class indices, 255 where a pixel has no label or no data, as `PatchStream` gives them.

    Parameters
    ----------
    network
        Turns ``(N, band, y, x)`` into logits. It is turned to channels-last memory, which is 1.6
        times as fast for convolutions on AVX-512 processors.
    contract
        Normalisation, nodata and classes.
    config
        Options of the training.
    steps_per_epoch
        Optimiser steps an epoch.

    Attributes
    ----------
    validation
        What the last validation found; None before the first.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        contract: Contract,
        config: TrainConfig,
        *,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.contract = contract
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.mode: Mode = config.resolve_mode(len(contract.classes))
        self.validation: Validation | None = None
        self._train_loss = PixelMean()
        self._val_loss = PixelMean()
        self._confusion = MulticlassConfusionMatrix(
            len(contract.classes), ignore_index=IGNORE_INDEX, validate_args=False
        )

    @property
    def train_loss(self) -> float:
        """Mean loss of the epoch so far, weighted by labelled pixels."""
        return float(self._train_loss.compute())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn normalised images ``(N, band, y, x)`` into logits, float32."""
        logits: torch.Tensor = self.network(image)
        return logits.float()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch, normalised and augmented on the device."""
        image, label = self._input(batch), batch["label"]
        if self.config.data_augmentation:
            place = (self.config.random_seed, self.current_epoch, batch_idx)
            image, label = augment(image, label, augmentation_generator(*place))
        loss = self._loss(self(image), label)
        self._train_loss.update(loss.detach(), label)
        return loss

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's mean anew."""
        self._train_loss.reset()

    def on_validation_epoch_start(self) -> None:
        """Begin loss and confusion matrix anew."""
        self._val_loss.reset()
        self._confusion.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the loss and to the confusion matrix."""
        label = batch["label"]
        logits = self(self._input(batch))
        self._val_loss.update(self._loss(logits, label), label)
        found = (logits[:, 0] > 0).long() if self.mode == "binary" else logits.argmax(1)
        self._confusion.update(found, label.long())

    def on_validation_epoch_end(self) -> None:
        """Score the epoch."""
        found = scores(self._confusion.compute().cpu().numpy())
        self.validation = Validation(float(self._val_loss.compute()), found)
        self.log("val_loss", self.validation.loss)

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule that the options ask for."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        schedule = make_schedule(optimizer, self.config, steps_per_epoch=self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _input(self, batch: Batch) -> torch.Tensor:
        image: torch.Tensor = normalize(batch["image"], self.contract)
        return image.contiguous(memory_format=torch.channels_last)

    def _loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return dice_ce_loss(logits, label, mode=self.mode, dice_weight=self.config.dice_weight)
