"""One training as Lightning runs it: batches in, loss and scores out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.utilities.distributed import gather_all_tensors

from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.training.augmentation import augment, augmentation_generator, draw_changes
from seg4eo_xr.training.freezing import encoder_of, hold, parameter_groups
from seg4eo_xr.training.losses import IGNORE_INDEX, SegmentationLoss
from seg4eo_xr.training.metrics import Scores, scores
from seg4eo_xr.training.schedule import make_schedules

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
        """Mean so far, over all processes."""
        return self.so_far()

    def so_far(self) -> torch.Tensor:
        """Mean so far, of this process: others need not ask for theirs."""
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
    class_weights
        A weight for each class in the loss; none where all count alike.

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
        class_weights: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.contract = contract
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.mode: Mode = config.resolve_mode(len(contract.classes))
        self.validation: Validation | None = None
        self.loss = SegmentationLoss(config, self.mode, class_weights)
        self._train_loss = PixelMean()
        # saved with the weights, so that a resumed epoch has the mean of all its batches
        self._train_loss.persistent(True)
        self._val_loss = PixelMean()
        self._confusion = MulticlassConfusionMatrix(
            len(contract.classes), ignore_index=IGNORE_INDEX, validate_args=False
        )

    @property
    def train_loss(self) -> float:
        """Mean loss of the epoch, weighted by labelled pixels; all processes ask, or none."""
        return float(self._train_loss.compute())

    @property
    def running_loss(self) -> float:
        """Mean loss of the epoch so far, of this process."""
        return float(self._train_loss.so_far())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn normalised images ``(N, band, y, x)`` into logits, float32."""
        logits: torch.Tensor = self.network(image)
        return logits.float()

    def on_train_start(self) -> None:
        """Hold the encoder where the training is resumed within the first epochs."""
        self._hold_encoder()

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's mean anew, and free the encoder when its time has come."""
        self._train_loss.reset()
        self._hold_encoder()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Let dropout depend on the place in the training alone, also where it is resumed."""
        torch.manual_seed(self._generator(batch_idx).initial_seed() + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch, normalised and augmented on the device."""
        image, label = self._input(batch), batch["label"]
        if self.config.data_augmentation:
            image, label = self._augment(image, label, batch_idx)
        logits = self(image)
        if _processes() > 1:
            # Dice is that of a whole batch, and the labelled pixels of all processes count alike.
            logits, label = (self._gather(values) for values in (logits, label))
        loss: torch.Tensor = self.loss(logits, label)
        self._train_loss.update(loss.detach(), label)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin loss and confusion matrix anew."""
        self._val_loss.reset()
        self._confusion.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the loss and to the confusion matrix."""
        label = batch["label"]
        logits = self(self._input(batch))
        found = (logits[:, 0] > 0).long() if self.mode == "binary" else logits.argmax(1)
        self._confusion.update(found, label.long())
        if _processes() > 1:  # the shares of a last batch may differ in size
            logits, label = (torch.cat(gather_all_tensors(one)) for one in (logits, label))
        self._val_loss.update(self.loss(logits, label), label)

    def on_validation_epoch_end(self) -> None:
        """Score the epoch."""
        found = scores(self._confusion.compute().cpu().numpy())
        self.validation = Validation(float(self._val_loss.compute()), found)
        self.log("val_loss", self.validation.loss, logger=False, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW and the schedules that the options ask for."""
        groups = parameter_groups(self.network, self.config)
        optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)
        steps = self.steps_per_epoch
        return [optimizer], make_schedules(optimizer, self.config, steps_per_epoch=steps)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance a schedule; a plateau is looked for when the warm-up is over."""
        if metric is None:
            scheduler.step()
        elif self.current_epoch >= self.config.warmup_epochs:
            scheduler.step(metric)

    def _hold_encoder(self) -> None:
        if self.config.freeze_encoder:
            frozen = self.current_epoch < self.config.freeze_epochs
            hold(encoder_of(self.network), frozen)

    def _input(self, batch: Batch) -> torch.Tensor:
        image: torch.Tensor = normalize(batch["image"], self.contract)
        return image.contiguous(memory_format=torch.channels_last)

    def _augment(
        self, image: torch.Tensor, label: torch.Tensor, batch_idx: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change this process's part of the batch as it would be changed in a single process."""
        samples, bands = image.shape[:2]
        drawn = draw_changes(samples * _processes(), bands, self._generator(batch_idx))
        start = samples * self.global_rank
        return augment(image, label, drawn.part(slice(start, start + samples)), self.contract)

    def _generator(self, batch_idx: int) -> torch.Generator:
        return augmentation_generator(self.config.random_seed, self.current_epoch, batch_idx)

    def _gather(self, values: torch.Tensor) -> torch.Tensor:
        """Join the equal shares of all processes; gradients find their way back."""
        gathered = self.all_gather(values, sync_grads=values.requires_grad)
        assert isinstance(gathered, torch.Tensor)
        return gathered.flatten(0, 1)


def _processes() -> int:
    """Processes that train together."""
    distributed = torch.distributed
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1
