"""The plan of an extraction: which patches there will be, and the graph that writes them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.delayed import Delayed, delayed

from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.assembly import Pieces, Resampling, assemble, cut, plan_pieces
from seg4eo_xr.patches.grids import PatchWindows, polygon_windows, regular_windows
from seg4eo_xr.patches.summary import ShardSummary, SummaryRules, merge_summaries, summarize
from seg4eo_xr.patches.writing import StoreLayout, default_shard_size, write_shard
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.scenes.open import SceneSource

_LOGGER = logging.getLogger(__name__)
_MERGED_AT_ONCE = 8
_SUMMARIZED_AT_ONCE = 16  # patches
_CHUNK_OF_ARRAYS = 2048  # pixels; what is in memory already is cut as files are


@dataclass(frozen=True, eq=False)
class Extraction:
    """An extraction that is planned and has read no pixel yet.

    Parameters
    ----------
    scene, labels
        Lazy arrays ``(band, y, x)`` and ``(y, x)`` on one grid.
    windows, splits
        The patches in the store's order, and the split of each.
    layout
        Sizes of the store's arrays.
    rules
        What counts as data, label and patch of use.
    rule
        The split's rule.
    options
        How to cut.
    """

    scene: xr.DataArray
    labels: xr.DataArray
    windows: PatchWindows
    splits: NDArray[np.str_]
    layout: StoreLayout
    rules: SummaryRules
    rule: Split
    options: ExtractOptions

    def graph(self, path: Path) -> Delayed:
        """Build the graph that writes the shards and returns the `ShardSummary` of all patches."""
        blocks = self.scene.data.to_delayed()[0], self.labels.data.to_delayed()
        level = []
        for patches in self.layout.shards:
            windows = self.windows.take(np.arange(patches.start, patches.stop))
            plans = [plan_pieces(windows, a.data.chunks[-2:]) for a in (self.scene, self.labels)]
            cuts = [
                [delayed(cut, pure=True)(chunks[plan.chunk], plan) for plan in pieces]
                for chunks, pieces in zip(blocks, plans, strict=True)
            ]
            task = _ShardTask(
                path,
                patches,
                windows,
                (plans[0], plans[1]),
                self.splits[patches] == "train",
                self._resampling(),
                self.rules,
            )
            level.append(delayed(_run_shard, pure=True)(task, *cuts))
        merge = delayed(merge_summaries, pure=True)
        while len(level) > 1:
            level = [
                merge(level[i : i + _MERGED_AT_ONCE]) for i in range(0, len(level), _MERGED_AT_ONCE)
            ]
        total: Delayed = level[0]
        return total

    def _resampling(self) -> tuple[Resampling, Resampling]:
        size = self.options.patch_size
        images = Resampling(size, self.options.interpolation, self.rules.nodata)
        return images, Resampling(size, "nearest", self.rules.ignore)


def plan_extraction(
    scene: SceneSource,
    labels: str | Path | xr.DataArray | gpd.GeoDataFrame,
    options: ExtractOptions,
    *,
    grid: gpd.GeoDataFrame | str | Path | None = None,
    id_column: str | None = None,
    split: Split | None = None,
    classes: ClassTable | None = None,
) -> Extraction:
    """Decide which patches there will be and where each goes; reads no pixel.

    Parameters and errors are those of `extract_patches`.
    """
    source = _source_name(scene)
    scene = open_scene(scene)
    labels = open_labels(labels, like=scene, ignore=_ignore_code(labels))
    if scene.chunks is None:
        scene = scene.chunk({"band": -1, "y": _CHUNK_OF_ARRAYS, "x": _CHUNK_OF_ARRAYS})
    if labels.chunks is None:
        labels = labels.chunk({"y": _CHUNK_OF_ARRAYS, "x": _CHUNK_OF_ARRAYS})
    if grid is None:
        shape = scene.sizes["y"], scene.sizes["x"]
        windows = regular_windows(shape, options.patch_size, options.stride)
    else:
        windows = polygon_windows(grid, scene, id_column)
    rule = split or RandomSplit()
    windows, splits = _dealt(windows, rule, scene.data.chunks[-2:])
    for reason, count in windows.dropped.items():
        _LOGGER.info("left out: %d windows that %s", count, reason)
    nodata, ignore = scene.rio.nodata, int(labels.rio.nodata)
    nodata = None if nodata is None else float(nodata)
    bands = scene.sizes["band"]
    shard_size = options.shard_size or default_shard_size(
        len(windows), bands, options.patch_size, scene.dtype
    )
    layout = StoreLayout(
        len(windows),
        bands,
        options.patch_size,
        shard_size,
        str(scene.dtype),
        str(labels.dtype),
        nodata,
        ignore,
    )
    known = classes or ClassTable.from_attrs(labels.attrs)
    rules = SummaryRules(nodata, options.nodata_rule, ignore, options.min_valid_fraction, known)
    scene = scene.assign_attrs(source=source)
    return Extraction(scene, labels, windows, splits, layout, rules, rule, options)


@dataclass(frozen=True, eq=False)
class _ShardTask:
    """All that one shard's task needs besides the pieces."""

    path: Path
    patches: slice
    windows: PatchWindows
    plans: tuple[list[Pieces], list[Pieces]]
    training: NDArray[np.bool_]
    resampling: tuple[Resampling, Resampling]
    rules: SummaryRules

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return str(self.path), self.patches.start, self.patches.stop, self.rules, self.resampling


def _run_shard(
    task: _ShardTask, image_cuts: Sequence[Any], label_cuts: Sequence[Any]
) -> ShardSummary:
    """Put one shard together, write it, and return its statistics."""
    images, labels = (
        assemble(plans, cuts, task.windows, resampling)
        for plans, cuts, resampling in zip(
            task.plans, (image_cuts, label_cuts), task.resampling, strict=True
        )
    )
    names = [
        f"patch {name} at row {row}, column {col}"
        for name, row, col in zip(
            task.windows.ids, task.windows.rows, task.windows.cols, strict=True
        )
    ]
    # In slices, since masks and counts of a whole shard would take as much memory as the shard.
    slices = [slice(i, i + _SUMMARIZED_AT_ONCE) for i in range(0, len(images), _SUMMARIZED_AT_ONCE)]
    summary = merge_summaries(
        [
            summarize(images[part], labels[part], task.training[part], names[part], task.rules)
            for part in slices
        ]
    )
    write_shard(task.path, task.patches, images, labels)
    return summary


def _dealt(
    windows: PatchWindows, rule: Split, chunks: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[PatchWindows, NDArray[np.str_]]:
    """Split the windows, leave out what the split leaves out, and bring them into reading order.

    Windows of one chunk follow each other, so that few chunks are in memory at a time.
    """
    splits = np.asarray(rule.assign(windows.rows, windows.cols, windows.heights, windows.widths))
    rows, cols = (
        np.searchsorted(np.cumsum(lengths), starts + sizes // 2, "right")
        for lengths, starts, sizes in (
            (chunks[0], windows.rows, windows.heights),
            (chunks[1], windows.cols, windows.widths),
        )
    )
    order = np.lexsort((windows.cols, windows.rows, cols, rows))
    order = order[splits[order] != ""]
    left_out = len(windows) - len(order)
    dropped = dict(windows.dropped)
    if left_out:
        dropped["lie within the buffer between the splits"] = left_out
    return replace(windows.take(order), dropped=dropped), splits[order]


def _ignore_code(labels: Any) -> int:
    """Code of unlabelled pixels that an array states, or else 255."""
    stated = labels.rio.nodata if isinstance(labels, xr.DataArray) else None
    return int(stated) if stated is not None and float(stated).is_integer() else 255


def _source_name(scene: Any) -> str:
    if isinstance(scene, str | Path):
        return str(scene)
    if isinstance(scene, xr.DataArray | xr.Dataset):
        return str(scene.encoding.get("source", "array"))
    return ", ".join(map(str, scene))
