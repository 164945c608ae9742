"""A finished training: its files and what it reached."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class TrainingRun(RunFolder):
    """A finished training: its files and its metrics.

    Parameters
    ----------
    save_dir
        The run's folder.
    metrics
        ``best_val_loss``, ``best_val_iou``, and of the epoch with the highest mIoU ``epoch``,
        ``val_loss``, ``val_miou`` and ``per_class_iou``.
    test
        Scores of that epoch's network on the test patches, as in ``model_metrics.json``; None where
        the store has none.
    """

    metrics: dict[str, Any]
    test: dict[str, Any] | None = None

    def plot(self) -> Figure:
        """Draw loss, mIoU, learning rate and the IoU of each class over the epochs."""
        from seg4eo_xr.training.pictures import draw_training
        from seg4eo_xr.training.report import read_log

        classes = load_checkpoint(self.best_iou_path).contract.classes
        return draw_training(read_log(self.log_path), classes, best_epoch=self.metrics["epoch"])

    def __repr__(self) -> str:
        best, epoch = self.metrics["best_val_iou"], self.metrics["epoch"]
        columns = {"validation": self.metrics["per_class_iou"]}
        if self.test is not None:
            scores = self.test["per_class"]
            columns["test"] = {name: found["iou"] for name, found in scores.items()}
        width = max(20, *map(len, columns["validation"]))
        lines = [f"best validation mIoU {best:.3f}, in epoch {epoch}"]
        if self.test is not None:
            lines[0] += f"; mIoU of the test patches {_told(self.test['miou'])}"
        lines.append(f"  {'IoU':<{width}} " + " ".join(f"{split:>10}" for split in columns))
        for name in columns["validation"]:
            cells = " ".join(f"{_told(column[name]):>10}" for column in columns.values())
            lines.append(f"  {name:<{width}} {cells}")
        files = (
            ("best by mIoU", self.best_iou_path),
            ("best by loss", self.best_loss_path),
            ("last epoch", self.final_path),
            ("log", self.log_path),
            ("pictures", f"{self.plot_path}, {self.class_plot_path.name}"),
            ("figures", self.metrics_path),
        )
        return "\n".join([*lines, *(f"{what:<14} {path}" for what, path in files)])


def read_run(folder: RunFolder) -> TrainingRun:
    """Read the metrics of a finished training from its files.

    Parameters
    ----------
    folder
        The run's.
    """
    best_loss = load_checkpoint(folder.best_loss_path).metrics["val_loss"]
    metrics = load_checkpoint(folder.best_iou_path).metrics
    report = json.loads(folder.metrics_path.read_text(encoding="utf-8"))
    return TrainingRun(folder.save_dir, {**metrics, "best_val_loss": best_loss}, report["test"])


def _told(number: float | None) -> str:
    return "–" if number is None or math.isnan(number) else f"{number:.3f}"
