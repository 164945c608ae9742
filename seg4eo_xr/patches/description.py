"""What a patch store says about itself: coordinates, contract, statistics, provenance."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.leakage import leakage
from seg4eo_xr.patches.agreement import pixel_sizes
from seg4eo_xr.patches.coverage import labelled_ground
from seg4eo_xr.patches.footprints import footprints_of
from seg4eo_xr.patches.store import UNUSED
from seg4eo_xr.patches.summary import (
    class_columns,
    known_medians,
    merge_by_split,
    typical_dark,
)
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.scenes.matching import fitted
from seg4eo_xr.scenes.statistics import make_contract

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.planning import Extraction
    from seg4eo_xr.patches.sources import PatchSource
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.patches.summary import ShardSummary
    from seg4eo_xr.scenes.contract import Contract

# Relative; the scale of a projection changes by less from tile to tile.
_ONE_SIZE = 0.01
Coordinates = dict[str, tuple[tuple[str, ...], "NDArray[Any]"]]


def describe_extraction(
    job: Extraction, summary: ShardSummary
) -> tuple[Coordinates, dict[str, Any]]:
    """Coordinates of the new patches and attributes of the store, once the patches are written.

    Raises
    ------
    ValueError
        If a new store has no training patch of use.
    """
    usable = job.rules.usable(summary.valid_fraction, summary.labelled_fraction)
    splits = np.where(usable, job.splits, UNUSED)
    scenes, crs = _scene_tables(job, summary, usable)
    contract = _contract(job, summary, usable, scenes)
    known = {} if job.existing is None else job.existing.attrs
    coordinates = _coordinates(job, summary, splits, contract)
    about = {
        "contract": contract.to_dict(),
        "scenes": scenes,
        "crs": crs,
        "split": _split_entry(job.rule),
        "options": asdict(job.options),
        "dropped": _dropped(job, known.get("dropped", {})),
        "leakage": _leakage(job, coordinates, splits),
        "commits": known.get("commits", 0) + 1,
    }
    return coordinates, about


def _contract(
    job: Extraction,
    summary: ShardSummary,
    usable: NDArray[np.bool_],
    scenes: Sequence[Mapping[str, Any]],
) -> Contract:
    earlier = [] if job.existing is None else job.existing.histograms()
    histograms = merge_by_split([*earlier, summary.histograms])
    if "train" not in histograms:
        raise ValueError(_why_no_training_patch(job, summary, usable))
    first = job.sources[0]
    contract = make_contract(
        histograms["train"],
        first.scene,
        job.rules.classes or _named_codes(job.named, summary.codes.tolist()),
        kind=job.options.normalization,
        nodata_rule=job.rules.nodata_rule,
        ignore=job.rules.ignore,
        dark=typical_dark(scenes),
    )
    edges = np.cumsum([len(source.windows) for source in job.sources])[:-1]
    of_source = np.split(usable & (job.splits == "train"), edges)
    trained = [source for source, own in zip(job.sources, of_source, strict=True) if own.any()]
    return _at_pixel_sizes(contract, trained, job)


def _named_codes(named: ClassTable | None, occurring: list[int]) -> ClassTable:
    """Classes of the codes that occur, under their names where some labels state them."""
    bare = ClassTable.from_codes(occurring)
    return bare if named is None else fitted(named, bare, "some labels", "others")[0]


def _why_no_training_patch(
    job: Extraction, summary: ShardSummary, usable: NDArray[np.bool_]
) -> str:
    rules = job.rules
    if not summary.valid_fraction.any():
        return (
            f"the scene is all nodata in its {len(usable)} patches (nodata value {rules.nodata}, "
            f"rule {rules.nodata_rule!r}); check the scene and its nodata value, which "
            "open_scene(nodata=...) (--nodata) sets"
        )
    if not summary.labelled_fraction.any():
        return (
            f"no pixel with data has a label in the {len(usable)} patches: all are {rules.ignore} "
            "(ignored) there; check that the labels cover the scene"
        )
    return (
        f"no training patch is left: of {len(usable)} patches, {int(usable.sum())} have enough "
        f"pixels with data (min_valid_fraction {rules.min_valid_fraction:g}) and with a label "
        f"(min_labelled_fraction {rules.min_labelled_fraction:g}), and none of these is for "
        "training; lower the fractions, make more or smaller patches, or raise train_ratio"
    )


def _coordinates(
    job: Extraction, summary: ShardSummary, splits: NDArray[np.str_], contract: Contract
) -> Coordinates:
    first = 0 if job.existing is None else len(job.existing.attrs["scenes"])
    columns: dict[str, list[NDArray[Any]]] = {}
    for number, source in enumerate(job.sources, start=first):
        for name, values in _of_source(source, number).items():
            columns.setdefault(name, []).append(values)
    codes = _columns(job.existing, contract.classes.codes)
    per_patch: dict[str, NDArray[Any]] = {
        "split": splits.astype(object),
        **{name: np.concatenate(parts) for name, parts in columns.items()},
        "valid_fraction": summary.valid_fraction,
        "labelled_fraction": summary.labelled_fraction,
        "digest": summary.digests,
    }
    return {
        **{name: (("patch",), values) for name, values in per_patch.items()},
        "class_pixels": (("patch", "class"), class_columns(summary, codes)),
        "band": (("band",), np.array(contract.bands, object)),
        "class": (("class",), np.array(codes)),
    }


def _columns(existing: PatchStore | None, codes: Sequence[int]) -> list[int]:
    """Codes in the order of the store's columns: those of new classes come after its own."""
    known = [] if existing is None else existing.coordinate("class").tolist()
    return [*known, *(code for code in codes if code not in known)]


def _of_source(source: PatchSource, number: int) -> dict[str, NDArray[Any]]:
    windows, transform = source.windows, grid_transform(source.scene, source.name)
    return {
        "id": windows.ids.astype(object),
        "scene": np.full(len(windows), number, np.uint32),
        "row": windows.rows,
        "col": windows.cols,
        "height": windows.heights,
        "width": windows.widths,
        "patch_x": transform.c + transform.a * (windows.cols + windows.widths / 2),
        "patch_y": transform.f + transform.e * (windows.rows + windows.heights / 2),
    }


def _at_pixel_sizes(
    contract: Contract, trained: Sequence[PatchSource], job: Extraction
) -> Contract:
    """Give the size of a patch's pixels: that of the first training scene, and from all of them."""
    sizes = pixel_sizes(trained, job.options.patch_size).reshape(-1, 2)
    if job.existing is not None:
        known = job.existing.contract
        held = np.reshape(known.pixel_range or known.ground_sample_distance, (-1, 2))
        sizes = np.concatenate([np.array([known.ground_sample_distance]), held, sizes])
    smallest, largest = sizes.min(axis=0), sizes.max(axis=0)
    alike = np.allclose(smallest, largest, rtol=_ONE_SIZE)
    several = () if alike else (*smallest.tolist(), *largest.tolist())
    width, height = sizes[0].tolist()
    return replace(contract, ground_sample_distance=(width, height), pixel_range=several)


def _scene_tables(
    job: Extraction, summary: ShardSummary, usable: NDArray[np.bool_]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Scenes, and the CRSs that they refer to by number: many scenes share a few."""
    known = {} if job.existing is None else job.existing.attrs
    scenes, crs = list(known.get("scenes", [])), list(known.get("crs", []))
    edges = np.cumsum([len(source.windows) for source in job.sources])[:-1]
    labelled = summary.class_pixels.sum(axis=1)
    columns = (np.split(values, edges) for values in (summary.dark, labelled, usable))
    for source, dark, pixels, used in zip(job.sources, *columns, strict=True):
        text = source.scene.rio.crs.to_wkt()
        if text not in crs:
            crs.append(text)
        scenes.append(
            {
                "name": source.name,
                "crs": crs.index(text),
                "transform": list(grid_transform(source.scene, source.name))[:6],
                "shape": [source.scene.sizes["y"], source.scene.sizes["x"]],
                "dark": _typical(dark),
                "labelled": list(labelled_ground(source, pixels, used)),
            }
        )
    return scenes, crs


def _typical(dark: NDArray[np.float64]) -> list[float | None] | None:
    """Median of the patches' dark numbers per band, None where none is known."""
    medians = known_medians(dark)
    if np.isnan(medians).all():
        return None
    return [None if np.isnan(number) else float(number) for number in medians]


def _split_entry(rule: Split) -> dict[str, Any]:
    options: dict[str, Any] = vars(rule) if is_dataclass(rule) else {}
    return {"rule": type(rule).__name__, **options}


def _dropped(job: Extraction, known: dict[str, int]) -> dict[str, int]:
    total = dict(known)
    found = [source.windows.dropped for source in job.sources]
    if job.left_out:
        found.append({"the split leaves out": job.left_out})
    for counts in found:
        for reason, count in counts.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _leakage(job: Extraction, coordinates: Coordinates, splits: NDArray[np.str_]) -> dict[str, Any]:
    grids = [
        (grid_transform(source.scene, source.name), source.scene.rio.crs.to_wkt())
        for source in job.sources
    ]
    numbers = coordinates["scene"][1].astype(np.int64)
    digests = coordinates["digest"][1]
    windows = _shown(job)
    if job.existing is not None:
        existing = job.existing
        grids = [*map(existing.grid_of_scene, range(len(existing.attrs["scenes"]))), *grids]
        numbers = np.concatenate([existing.coordinate("scene").astype(np.int64), numbers])
        digests = np.concatenate([existing.coordinate("digest"), digests])
        windows = tuple(
            np.concatenate(sides) for sides in zip(existing.shown_windows(), windows, strict=True)
        )
        splits = np.concatenate([existing.splits, splits])
    return leakage(footprints_of(windows, numbers, grids, splits), splits, digests).to_dict()


def _shown(job: Extraction) -> tuple[NDArray[np.int64], ...]:
    """Row, column, height and width of what each new patch shows of its scene."""
    parts = [
        source.windows.within((source.scene.sizes["y"], source.scene.sizes["x"]))
        for source in job.sources
    ]
    names = ("rows", "cols", "heights", "widths")
    return tuple(np.concatenate([getattr(part, name) for part in parts]) for name in names)
