"""What commands have to say of what they made, for people and for machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from seg4eo_xr.cli.command import Told
from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.html import amount_text, table_text

if TYPE_CHECKING:
    from seg4eo_xr.jobs.result import JobResult
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.training.run import TrainingRun


class Report(Protocol):
    """Figures that can be printed and turned into plain values."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""


def of_report(report: Report, /, **files: PathLike[str] | str | None) -> Told:
    """Tell figures, and which files were written beside.

    Parameters
    ----------
    report
        The figures.
    **files
        Paths by what they are; those that are None were not asked for.
    """
    written = {name: str(path) for name, path in files.items() if path is not None}
    return Told(str(report), {**report.to_dict(), "files": written})


def of_path(path: PathLike[str] | str) -> Told:
    """Tell where something was written."""
    return Told(str(path), {"path": str(path)})


def of_store(store: PatchStore) -> Told:
    """Tell what a patch store holds."""
    classes = store.contract.classes
    splits = {
        split: {
            "patches": len(store.indices(split)),
            "class_pixels": {
                classes.names[place]: pixels
                for place, pixels in enumerate(store.class_counts(split).values())
            },
        }
        for split in SPLITS
    }
    about = {
        "path": str(store.path),
        "patches": len(store),
        "patch_size": store.patch_size,
        "labelled_share": store.labelled_share,
        "splits": splits,
        "scenes": [scene["name"] for scene in store.attrs["scenes"]],
        "leakage": store.leakage.to_dict(),
        "contract": store.contract.to_dict(),
    }
    return Told(store.describe(), about)


def of_run(run: TrainingRun) -> Told:
    """Tell what a training reached, and where its checkpoints are."""
    about = {
        "save_dir": str(run.save_dir),
        "best_iou_path": str(run.best_iou_path),
        "best_loss_path": str(run.best_loss_path),
        "metrics": run.metrics,
        "test": run.test,
        "leakage": run.leakage,
    }
    return Told(str(run), about)


def of_job(result: JobResult) -> Told:
    """Tell what a map holds, and where it is."""
    files = [str(file) for file in result.files]
    about = {"files": files, "tiles": result.tiles, "seconds": result.seconds}
    text = "\n".join([str(result.statistics), *files])
    return Told(text, {**about, "statistics": result.statistics.report()})


def of_jobs(results: Mapping[str, JobResult]) -> Told:
    """Report what the maps of several scenes hold: each in a line, and all together."""
    one = {name: of_job(result).data for name, result in results.items()}
    first, *others = (result.statistics for result in results.values())
    total = first.merge(*others)
    rows = [
        [
            str(results[name].path),
            f"{about['statistics']['pixels']:,}",
            f"{about['statistics']['missing_pixels']:,}",
            amount_text(about["statistics"]["area_km2"]),
            _commonest(about["statistics"]["classes"]),
        ]
        for name, about in one.items()
    ]
    table = table_text(["map", "pixels", "nodata", "km²", "commonest class"], rows)
    return Told(f"{table}\n\n{total}", {"total": total.report(), "scenes": one})


def _commonest(classes: list[dict[str, Any]]) -> str:
    """Name of the class with most pixels; a map of nothing but nodata has none."""
    most = max(classes, key=lambda row: row["pixels"])
    return str(most["name"]) if most["pixels"] else "-"


def plain(value: Any) -> Any:
    """Values as JSON has them: a number that is not finite becomes null.

    Examples
    --------
    >>> plain({"iou": float("nan"), "shape": (2, 3)})
    {'iou': None, 'shape': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):  # NumPy's
        return plain(value.tolist())
    if isinstance(value, PathLike):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
