"""What a patch store says about itself: coordinates, contract, statistics, provenance."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from seg4eo_xr.geometry.splits import nearest_distance
from seg4eo_xr.patches.store import UNUSED
from seg4eo_xr.patches.summary import class_columns
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import crs_text, grid_transform
from seg4eo_xr.scenes.open import band_names_of
from seg4eo_xr.scenes.statistics import make_contract, statistics_dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.grids import PatchWindows
    from seg4eo_xr.patches.planning import Extraction
    from seg4eo_xr.patches.summary import ShardSummary
    from seg4eo_xr.scenes.contract import Contract


def describe_extraction(
    job: Extraction, summary: ShardSummary
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Coordinates and attributes of the store, once the patches are written.

    Raises
    ------
    ValueError
        If no training patch is of use.
    """
    usable = job.rules.usable(summary.valid_fraction)
    splits = np.where(usable, job.splits, UNUSED)
    _require_training(job, summary, usable)
    assert summary.histogram is not None
    classes = job.rules.classes or ClassTable.from_codes(summary.codes.tolist())
    contract = make_contract(
        summary.histogram,
        job.scene,
        classes,
        kind=job.options.normalization,
        nodata_rule=job.rules.nodata_rule,
        ignore=job.rules.ignore,
    )
    contract = _at_patch_resolution(contract, job.windows, job.options.patch_size)
    statistics = statistics_dataset(summary.histogram, contract.bands)
    attrs = {
        "contract": contract.to_dict(),
        "scenes": [_scene_entry(job.scene)],
        "split": _split_entry(job.rule),
        "options": asdict(job.options),
        "dropped": dict(job.windows.dropped),
        "band_statistics": {
            str(name): column.values.tolist() for name, column in statistics.items()
        },
        "nearest_distance": _distances(job.windows, splits),
    }
    return _coordinates(job, summary, splits, contract), attrs


def _require_training(job: Extraction, summary: ShardSummary, usable: NDArray[np.bool_]) -> None:
    if (usable & (job.splits == "train")).any():
        return
    if not summary.data_fraction.any():
        raise ValueError(
            f"the scene is all nodata in its {len(usable)} patches (nodata value "
            f"{job.rules.nodata}, rule {job.rules.nodata_rule!r}); check the scene and its "
            "nodata value, which open_scene(nodata=...) sets"
        )
    if not summary.valid_fraction.any():
        raise ValueError(
            f"no pixel with data has a label in the {len(usable)} patches: all are "
            f"{job.rules.ignore} (ignored) there; check that the labels cover the scene"
        )
    raise ValueError(
        f"no training patch is left: of {len(usable)} patches, {int(usable.sum())} have enough "
        f"labelled pixels with data (min_valid_fraction {job.rules.min_valid_fraction:g}), and "
        "none of these is for training; lower min_valid_fraction, make more or smaller patches, "
        "or raise train_ratio"
    )


def _coordinates(
    job: Extraction, summary: ShardSummary, splits: NDArray[np.str_], contract: Contract
) -> xr.Dataset:
    windows, transform = job.windows, grid_transform(job.scene, "the scene")
    x = transform.c + transform.a * (windows.cols + windows.widths / 2)
    y = transform.f + transform.e * (windows.rows + windows.heights / 2)
    codes = contract.classes.codes
    per_patch: dict[str, NDArray[Any]] = {
        "split": splits.astype(object),
        "id": windows.ids.astype(object),
        "scene": np.zeros(len(windows), np.uint16),
        "row": windows.rows,
        "col": windows.cols,
        "height": windows.heights,
        "width": windows.widths,
        "patch_x": x,
        "patch_y": y,
        "data_fraction": summary.data_fraction,
        "valid_fraction": summary.valid_fraction,
    }
    return xr.Dataset(
        coords={
            **{name: ("patch", values) for name, values in per_patch.items()},
            "class_pixels": (("patch", "class"), class_columns(summary, codes)),
            "band": ("band", np.array(contract.bands, object)),
            "class": ("class", np.array(codes)),
        }
    )


def _at_patch_resolution(contract: Contract, windows: PatchWindows, patch_size: int) -> Contract:
    """Give the size of a patch's pixels where windows were resampled (their median)."""
    width, height = contract.ground_sample_distance
    return replace(
        contract,
        ground_sample_distance=(
            width * float(np.median(windows.widths)) / patch_size,
            height * float(np.median(windows.heights)) / patch_size,
        ),
    )


def _scene_entry(scene: xr.DataArray) -> dict[str, Any]:
    return {
        "name": scene.attrs["source"],
        "crs": scene.rio.crs.to_wkt(),
        "crs_name": crs_text(scene.rio.crs),
        "transform": list(grid_transform(scene, "the scene"))[:6],
        "shape": [scene.sizes["y"], scene.sizes["x"]],
        "bands": band_names_of(scene),
    }


def _split_entry(rule: Split) -> dict[str, Any]:
    options: dict[str, Any] = vars(rule) if is_dataclass(rule) else {}
    return {"rule": type(rule).__name__, **options}


def _distances(windows: PatchWindows, splits: NDArray[np.str_]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    arrays = windows.rows, windows.cols, windows.heights, windows.widths
    for pair in (("test", "train"), ("validation", "train"), ("test", "validation")):
        distance = nearest_distance(*arrays, splits, pair)
        result["-".join(pair)] = None if np.isnan(distance) else distance
    return result
