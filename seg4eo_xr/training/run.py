"""A finished training: its files and what it reached."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg4eo_xr.geometry.leakage import LeakageReport
from seg4eo_xr.html import (
    card_html,
    details_html,
    lines_html,
    table_html,
    table_text,
    warnings_html,
)
from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WARNING = "warning: "


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
    leakage
        How near the splits come to each other and what they share, in lines; what flatters the
        scores of the test patches is a line that begins with ``warning:``.
    """

    metrics: dict[str, Any]
    test: dict[str, Any] | None = None
    leakage: tuple[str, ...] = ()

    def plot(self) -> Figure:
        """Draw loss, mIoU, learning rate and the IoU of each class over the epochs."""
        from seg4eo_xr.training.pictures import draw_training
        from seg4eo_xr.training.report import read_log

        classes = load_checkpoint(self.best_iou_path).contract.classes
        return draw_training(read_log(self.log_path), classes, best_epoch=self.metrics["epoch"])

    def __repr__(self) -> str:
        return "\n".join(
            [self._summary(), table_text(*self._class_table()), *self.leakage]
            + [f"{what:<14} {path}" for what, path in self._told_files()]
        )

    def _repr_html_(self) -> str:
        facts = [line for line in self.leakage if not line.startswith(_WARNING)]
        problems = [line.removeprefix(_WARNING) for line in self.leakage if line not in facts]
        files = lines_html([f"{what}: {path}" for what, path in self._told_files()])
        return card_html(
            "training run",
            self._summary(),
            table_html(*self._class_table()),
            lines_html(facts),
            warnings_html(problems),
            details_html("files", files),
        )

    def _summary(self) -> str:
        best, epoch = self.metrics["best_val_iou"], self.metrics["epoch"]
        told = f"best validation mIoU {best:.3f}, in epoch {epoch}"
        if self.test is None:
            return told
        return f"{told}; mIoU of the test patches {_told(self.test['miou'])}"

    def _class_table(self) -> tuple[list[str], list[list[str]]]:
        columns = {"validation": self.metrics["per_class_iou"]}
        if self.test is not None:
            scores = self.test["per_class"]
            columns["test"] = {name: found["iou"] for name, found in scores.items()}
        rows = [
            [name, *(_told(column[name]) for column in columns.values())]
            for name in columns["validation"]
        ]
        return ["IoU", *columns], rows

    def _told_files(self) -> list[tuple[str, object]]:
        return [
            ("best by mIoU", self.best_iou_path),
            ("best by loss", self.best_loss_path),
            ("last epoch", self.final_path),
            ("log", self.log_path),
            ("pictures", f"{self.plot_path}, {self.class_plot_path.name}"),
            ("figures", self.metrics_path),
        ]


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
    return TrainingRun(
        folder.save_dir,
        {**metrics, "best_val_loss": best_loss},
        report["test"],
        _leakage_lines(report.get("leakage")),
    )


def _leakage_lines(told: dict[str, Any] | None) -> tuple[str, ...]:
    if told is None:  # the report of an older version
        return ()
    found = LeakageReport(told["distances"], told["overlapping"], told["duplicates"])
    return (*found.lines(), *(f"{_WARNING}{problem}" for problem in told["warnings"]))


def _told(number: float | None) -> str:
    return "–" if number is None or math.isnan(number) else f"{number:.3f}"
