"""What happens beside the steps of a training: the files of the run, the bar, the reading order."""

from __future__ import annotations

import csv
import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from seg4eo_xr.models.checkpoint import Checkpoint, save_checkpoint
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.progress import new_bar
from seg4eo_xr.training.task import SegmentationTask

if TYPE_CHECKING:
    from pathlib import Path

    from seg4eo_xr.training.folder import RunFolder
    from seg4eo_xr.training.task import Validation

_LOGGER = logging.getLogger(__name__)
_BAR_SECONDS = 0.25


class RunFiles(pl.Callback):
    """Leave the checkpoints and the log of a run, and tell the loggers.

    Parameters
    ----------
    folder
        Where; it exists.
    template
        A checkpoint of this training, to which weights and metrics are added.
    """

    def __init__(self, folder: RunFolder, template: Checkpoint) -> None:
        self.folder = folder
        self.template = template
        self._rows: list[dict[str, Any]] = []
        self._best_loss = math.inf
        self._best_iou = -math.inf
        self._rate = math.nan

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training has to know of the epochs before."""
        best = {"best_loss": self._best_loss, "best_iou": self._best_iou}
        return {"rows": self._rows, **best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`; rows of the log that came later are forgotten."""
        self._rows = list(state_dict["rows"])
        self._best_loss, self._best_iou = state_dict["best_loss"], state_dict["best_iou"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Note the rate of the step; after it the schedule has moved on."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights where they are the best so far."""
        task = _task(pl_module)
        validation = _validation(task)
        epoch = trainer.current_epoch + 1
        if not math.isfinite(validation.loss):
            self._require_earlier_epoch(validation, epoch)
            return
        better_loss = validation.loss < self._best_loss
        better_iou = validation.scores.miou > self._best_iou
        self._best_loss = min(self._best_loss, validation.loss)
        self._best_iou = max(self._best_iou, validation.scores.miou)
        metrics = self._metrics(validation, epoch)
        if better_loss:
            self._save(trainer, task, metrics, self.folder.best_loss_path)
        if better_iou:
            self._save(trainer, task, metrics, self.folder.best_iou_path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch to the log."""
        task = _task(pl_module)
        validation = _validation(task)
        ious = zip(self.template.contract.classes.names, validation.scores.iou, strict=True)
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": task.train_loss,
            "val_loss": validation.loss,
            "val_miou": validation.scores.miou,
            **{f"iou_{name}": float(iou) for name, iou in ious},
            "learning_rate": self._rate,
        }
        self._rows.append(row)
        if trainer.is_global_zero:
            self._write_log()
            _LOGGER.info(
                "epoch %d of %d: train_loss %.4g, val_loss %.4g, val_miou %.4g",
                row["epoch"],
                trainer.max_epochs,
                task.train_loss,
                validation.loss,
                validation.scores.miou,
            )
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.current_epoch + 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights of the last epoch."""
        task = _task(pl_module)
        metrics = self._metrics(_validation(task), trainer.current_epoch)
        self._save(trainer, task, metrics, self.folder.final_path)

    def _metrics(self, validation: Validation, epoch: int) -> dict[str, Any]:
        names = self.template.contract.classes.names
        return {
            "epoch": epoch,
            "val_loss": validation.loss,
            "val_miou": validation.scores.miou,
            "per_class_iou": dict(zip(names, validation.scores.iou.tolist(), strict=True)),
            "best_val_loss": self._best_loss,
            "best_val_iou": self._best_iou,
        }

    def _save(
        self, trainer: pl.Trainer, task: SegmentationTask, metrics: dict[str, Any], path: Path
    ) -> None:
        if trainer.is_global_zero:
            weights = task.network.state_dict()
            save_checkpoint(replace(self.template, state_dict=weights, metrics=metrics), path)

    def _write_log(self) -> None:
        """Write the whole log: so a resumed run has no row of what it does again."""
        part = self.folder.log_path.with_name(f".{self.folder.log_path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(self._rows[0])
            for row in self._rows:
                writer.writerow(f"{n:.6g}" if isinstance(n, float) else n for n in row.values())
        part.replace(self.folder.log_path)

    def _require_earlier_epoch(self, validation: Validation, epoch: int) -> None:
        if not math.isfinite(self._best_loss):
            raise ValueError(
                f"the training diverged: the validation loss is {validation.loss} after epoch "
                f"{epoch}; lower --learning_rate, and look for impossible numbers in the scene"
            )


class TrainingBar(pl.Callback):
    """Show a bar over all batches of all epochs, with loss and mIoU.

    Parameters
    ----------
    epochs
        Most epochs.
    batches
        Batches an epoch, those of the validation counted.
    """

    def __init__(self, epochs: int, batches: int) -> None:
        self.epochs = epochs
        self.batches = batches
        self._bar: Any = None
        self._shown: dict[str, str] = {}
        self._next_look = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar, with what a resumed training has done already."""
        epochs, steps = divmod(trainer.global_step, _task(pl_module).steps_per_epoch)
        self._bar = new_bar(
            total=self.epochs * self.batches,
            initial=epochs * self.batches + steps,
            unit="batch",
            disable=not trainer.is_global_zero,
        )
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Name the epoch."""
        name = f"training, epoch {trainer.current_epoch + 1}/{self.epochs}"
        self._bar.set_description(name, refresh=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Advance, and look at the loss now and then: on an accelerator each look waits for it."""
        if time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + _BAR_SECONDS
            self._show(loss=f"{_task(pl_module).running_loss:.3f}")
        self._bar.update(1)

    def on_validation_batch_end(self, *_: Any) -> None:
        """Advance."""
        self._bar.update(1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what the validation found."""
        found = _validation(_task(pl_module))
        self._show(val_loss=f"{found.loss:.3f}", mIoU=f"{found.scores.miou:.3f}")

    def on_train_end(self, *_: Any) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def on_exception(self, *_: Any) -> None:
        """Leave the bar as it stands, so that the error has a line of its own."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, **numbers: str) -> None:
        self._shown |= numbers
        self._bar.set_postfix(self._shown, refresh=False)


class ReadingOrder(pl.Callback):
    """Tell the training stream which epoch it is, since its order depends on it."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the epoch, before the stream is read."""
        stream = trainer.train_dataloader
        assert isinstance(stream, PatchStream)
        stream.set_epoch(trainer.current_epoch)


def _task(module: pl.LightningModule) -> SegmentationTask:
    if not isinstance(module, SegmentationTask):
        raise TypeError(f"these callbacks serve a SegmentationTask, got a {type(module).__name__}")
    return module


def _validation(task: SegmentationTask) -> Validation:
    if task.validation is None:
        raise RuntimeError("no validation has been run yet")
    return task.validation
