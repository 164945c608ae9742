"""What a finished training leaves for people: its figures as JSON, and two pictures."""

from __future__ import annotations

import csv
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.staging import write_report
from seg4eo_xr.training.leaks import flattering, leakage_of
from seg4eo_xr.training.metrics import scores
from seg4eo_xr.training.pictures import draw_classes, draw_training
from seg4eo_xr.training.scoring import confusion_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.training.folder import RunFolder
    from seg4eo_xr.training.pictures import Log

_PACKAGES = (
    "seg4eo-xr",
    "torch",
    "lightning",
    "segmentation-models-pytorch",
    "torchvision",
    "numpy",
    "xarray",
    "zarr",
)


def finish_run(
    folder: RunFolder,
    patches: PatchStore,
    positions: Mapping[SplitName, NDArray[np.int64]],
    *,
    device: str = "cpu",
    batch_size: int = 8,
) -> dict[str, Any]:
    """Score the best checkpoint of a training, and write its figures and pictures.

    The checkpoint with the highest validation mIoU is scored on the validation patches and, where
    there are any, on the test patches, which have had no part in the training. The figures are
    written last: a run that has them is complete.

    Parameters
    ----------
    folder
        The run's folder, with its checkpoints and its log.
    patches
        The store.
    positions
        Positions in the store of each split's patches, ``(patch,)``.
    device
        Where to run the network, as torch names it.
    batch_size
        Patches a pass.

    Returns
    -------
    dict
        What ``model_metrics.json`` holds.
    """
    checkpoint = load_checkpoint(folder.best_iou_path)
    matrices = {
        split: confusion_matrix(
            checkpoint, patches, positions[split], device=device, batch_size=batch_size
        )
        for split in ("validation", "test")
        if len(positions.get(split, ()))
    }
    report = _report(folder, checkpoint, patches, positions, matrices)
    log = read_log(folder.log_path)
    title = f"{checkpoint.spec.model} / {checkpoint.spec.encoder_name}"
    classes, best = checkpoint.contract.classes, checkpoint.metrics["epoch"]
    course = draw_training(log, classes, title=title, best_epoch=best, shown=False)
    write_figure(course, folder.plot_path)
    found = {split: scores(matrix) for split, matrix in matrices.items()}
    last = list(matrices.values())[-1]
    bars = draw_classes(found, last, classes, title=f"{title}, epoch {best}", shown=False)
    write_figure(bars, folder.class_plot_path)
    write_json(report, folder.metrics_path)
    return report


def read_log(path: Path) -> Log:
    """Read the log of a training.

    Parameters
    ----------
    path
        ``model_training_log.csv``.

    Returns
    -------
    dict
        Columns by their names, ``(epoch,)`` float64 each.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write plain values as a JSON file, whole or not at all; numbers that are not finite as null.

    Parameters
    ----------
    content
        Mappings, sequences, texts and numbers.
    path
        The file, replaced if it exists.
    """
    write_report(_finite(content), path)


def _report(
    folder: RunFolder,
    checkpoint: Checkpoint,
    patches: PatchStore,
    positions: Mapping[SplitName, NDArray[np.int64]],
    matrices: Mapping[str, NDArray[np.int64]],
) -> dict[str, Any]:
    names = checkpoint.contract.classes.names
    found: dict[str, Any] = {
        split: {
            **scores(matrix).to_dict(names),
            "pixels": int(matrix.sum()),
            "patches": len(positions[split]),  # type: ignore[index]
            "confusion_matrix": matrix.tolist(),
        }
        for split, matrix in matrices.items()
    }
    leaks = leakage_of(patches, positions)
    return {
        "checkpoint": folder.best_iou_path.name,
        "best": checkpoint.metrics,
        "test": found.get("test"),
        "validation": found["validation"],
        "leakage": {**leaks.to_dict(), "warnings": flattering(leaks, patches.patch_size)},
        "config": checkpoint.config,
        "seeds": {"training": checkpoint.config.get("random_seed"), "split": _split_seed(patches)},
        "store": {
            "path": str(patches.path),
            "commit": patches.attrs["commits"],
            "patches": {split: len(positions.get(split, ())) for split in SPLITS},
        },
        "versions": versions(),
        "contract": checkpoint.contract.to_dict(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a training's numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def _split_seed(patches: PatchStore) -> int | None:
    seed: int | None = patches.attrs["split"].get("random_seed")
    return seed


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
