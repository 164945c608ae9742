"""Where patches come from: a scene with labels, and the windows that are cut out of both."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.delayed import Delayed, delayed

from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.patches.assembly import Pieces, Resampling, assemble, cut, plan_pieces
from seg4eo_xr.patches.class_agreement import StatedClasses, codes_in
from seg4eo_xr.patches.grids import PatchWindows, polygon_windows, regular_windows
from seg4eo_xr.patches.sampling import balanced_windows, random_windows
from seg4eo_xr.scenes.bands import with_free_nodata
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import (
    MADE_UP,
    is_numbered,
    label_dtype,
    meant_table,
    recoded,
    warn_of_renaming,
)
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.scenes.unlabelled import move_code

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.open import SceneSource

UNNAMED = "array"  # what arrays without a file are called
_CHUNK_OF_ARRAYS = 2048  # pixels; what is in memory already is cut as files are


class Section(Protocol):
    """Consecutive patches of one shard that come from one source; travels to the worker."""

    @property
    def names(self) -> list[str]:
        """What error messages call the patches."""
        ...

    def read(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return images ``(patch, band, y, x)`` and labels ``(patch, y, x)``."""
        ...

    def inside(self) -> NDArray[np.bool_] | None:
        """Which pixels lie inside the scene, ``(patch, y, x)``; None where all do."""
        ...


class PatchSource(Protocol):
    """Something to take patches from, planned and not read.

    `scene` and `labels` tell bands, dtypes, nodata, CRS and transform; nobody but the source itself
    reads their pixels.
    """

    @property
    def name(self) -> str:
        """What `info` and error messages call the source."""
        ...

    @property
    def scene(self) -> xr.DataArray:
        """Metadata of the images, ``(band, y, x)``."""
        ...

    @property
    def labels(self) -> xr.DataArray:
        """Metadata of the labels, ``(y, x)``."""
        ...

    @property
    def windows(self) -> PatchWindows:
        """The patches."""
        ...

    def with_nodata(self, nodata: float) -> PatchSource:
        """Return the source, which states none, with a nodata value that no pixel has."""
        ...

    @property
    def classes(self) -> Sequence[StatedClasses]:
        """What the labels say of their classes: several where there are several files."""
        ...

    def in_codes_of(self, table: ClassTable, reserved: Collection[int]) -> PatchSource:
        """Return the source with labels in the codes of a table that has all their classes."""
        ...

    def take(self, positions: NDArray[np.int64]) -> PatchSource:
        """Return the source with the patches at `positions` only, in that order."""
        ...

    def with_ignore(self, code: int) -> PatchSource:
        """Return the source with another code of pixels without a label."""
        ...

    def reading_order(self) -> NDArray[np.intp]:
        """Order of the patches in which they are best read and stored."""
        ...

    def section(self, patches: slice) -> Section:
        """Return what a worker needs to read some patches."""
        ...

    def inputs(self, section: Any) -> list[Any]:
        """Return the tasks whose results `section.read` takes."""
        ...


@dataclass(frozen=True, eq=False)
class ScenePatches:
    """Windows of a scene and its labels.

    Parameters
    ----------
    name
        What `info` and error messages call the scene.
    scene, labels
        Lazy arrays ``(band, y, x)`` and ``(y, x)`` on one grid.
    windows
        The patches.
    resampling
        How windows of images and of labels become patches.
    """

    name: str
    scene: xr.DataArray
    labels: xr.DataArray
    windows: PatchWindows
    resampling: tuple[Resampling, Resampling]

    def with_nodata(self, nodata: float) -> ScenePatches:
        """Return the source, which states none, with a nodata value that no pixel has."""
        images, labels = self.resampling
        return replace(
            self,
            scene=with_free_nodata(self.scene, nodata),
            resampling=(replace(images, nodata=nodata), labels),
        )

    @property
    def classes(self) -> tuple[StatedClasses]:
        """What the labels say of their classes."""
        return (StatedClasses.of(self.labels.attrs),)

    def in_codes_of(self, table: ClassTable, reserved: Collection[int]) -> ScenePatches:
        """Return the source with labels in the codes of a table that has all their classes."""
        stated, what = self.classes[0], f"the labels of {self.name}"
        if stated.table is None:
            return self
        codes, labels = codes_in(table, stated, what, reserved), self.labels
        if codes:
            ignore = int(labels.rio.nodata)
            dtype = label_dtype([*codes.values(), ignore], labels.dtype)
            # a part of a function, since dask would search its arguments for tasks
            recode = partial(recoded, codes=codes, ignore=ignore, dtype=dtype, what=what)
            meta = np.empty((0, 0), dtype)
            labels = labels.copy(data=labels.data.map_blocks(recode, dtype=dtype, meta=meta))
        kept = {name: value for name, value in labels.attrs.items() if name not in MADE_UP}
        labels = labels.drop_attrs(deep=False).assign_attrs(kept | table.to_attrs())
        return replace(self, labels=labels)

    def take(self, positions: NDArray[np.int64]) -> ScenePatches:
        """Return the source with the patches at `positions` only, in that order."""
        return replace(self, windows=self.windows.take(positions))

    def with_ignore(self, code: int) -> ScenePatches:
        """Return the source with another code of pixels without a label."""
        if code == self.labels.rio.nodata:
            return self
        images, labels = self.resampling
        moved = move_code(self.labels, code, f"the labels of {self.name}")
        return replace(self, labels=moved, resampling=(images, replace(labels, nodata=code)))

    def reading_order(self) -> NDArray[np.intp]:
        """Order in which windows of one chunk follow each other: few chunks are in memory then."""
        windows, chunks = self.windows, self.scene.data.chunks[-2:]
        rows, cols = (
            np.searchsorted(np.cumsum(lengths), starts + sizes // 2, "right")
            for lengths, starts, sizes in (
                (chunks[0], windows.rows, windows.heights),
                (chunks[1], windows.cols, windows.widths),
            )
        )
        return np.lexsort((windows.cols, windows.rows, cols, rows))

    def section(self, patches: slice) -> SceneSection:
        """Return what a worker needs to read some patches."""
        windows = self.windows.take(np.arange(patches.start, patches.stop))
        images, labels = (
            plan_pieces(windows, array.data.chunks[-2:]) for array in (self.scene, self.labels)
        )
        token = tokenize(self.scene.data.name, self.labels.data.name)
        shape = self.scene.sizes["y"], self.scene.sizes["x"]
        return SceneSection(self.name, windows, (images, labels), self.resampling, shape, token)

    def inputs(self, section: SceneSection) -> list[list[Delayed]]:
        """Return the tasks that cut the pieces of images and labels out of their chunks."""
        # Parts of functions, since dask would search their other arguments for tasks.
        return [
            [
                delayed(partial(cut, pieces=pieces), pure=True)(blocks[pieces.chunk])
                for pieces in plans
            ]
            for blocks, plans in zip(self._blocks, section.plans, strict=True)
        ]

    @cached_property
    def _blocks(self) -> list[NDArray[np.object_]]:
        """Chunks of scene and labels as tasks, by row and column."""
        arrays = self.scene.data, self.labels.data
        return [array.to_delayed().reshape(array.numblocks[-2:]) for array in arrays]


@dataclass(frozen=True, eq=False)
class SceneSection:
    """Consecutive windows of a scene, and how to put their patches together.

    Parameters
    ----------
    scene
        Its name.
    windows
        The patches.
    plans
        The pieces of images and labels.
    resampling
        How windows of images and of labels become patches.
    shape
        Height and width of the scene.
    token
        Stands for the pixels of scene and labels.
    """

    scene: str
    windows: PatchWindows
    plans: tuple[list[Pieces], list[Pieces]]
    resampling: tuple[Resampling, Resampling]
    shape: tuple[int, int]
    token: str

    def __dask_tokenize__(self) -> tuple[str, str]:
        windows = self.windows
        sides = windows.rows, windows.cols, windows.heights, windows.widths
        # Arrays have to be hashed here: dask goes by their text, which leaves out the middle.
        return "SceneSection", tokenize(self.scene, *sides, self.resampling, self.shape, self.token)

    @property
    def names(self) -> list[str]:
        """What error messages call the patches."""
        windows = zip(self.windows.ids, self.windows.rows, self.windows.cols, strict=True)
        return [
            f"patch {name} of {self.scene} at row {row}, column {col}" for name, row, col in windows
        ]

    def read(self, inputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Put the patches together from the pieces that `ScenePatches.inputs` cuts."""
        images, labels = (
            assemble(plans, cuts, self.windows, resampling, self.shape)
            for plans, cuts, resampling in zip(self.plans, inputs, self.resampling, strict=True)
        )
        return images, labels

    def inside(self) -> NDArray[np.bool_] | None:
        """Which pixels lie inside the scene, ``(patch, y, x)``; None where all do."""
        windows, size = self.windows, self.resampling[0].size
        within = windows.within(self.shape)
        if (within.heights == windows.heights).all() and (within.widths == windows.widths).all():
            return None
        # Windows that reach past the edge are of the patches' own size.
        rows, cols = (
            np.where(own == whole, size, own)[:, None] > np.arange(size)
            for own, whole in ((within.heights, windows.heights), (within.widths, windows.widths))
        )
        return np.asarray(rows[:, :, None] & cols[:, None, :])


def plan_scene(
    scene: SceneSource,
    labels: str | Path | xr.DataArray | gpd.GeoDataFrame,
    options: ExtractOptions,
    *,
    name: str | None = None,
    grid: gpd.GeoDataFrame | str | Path | None = None,
    id_column: str | None = None,
    group_column: str | None = None,
    classes: ClassTable | None = None,
) -> ScenePatches:
    """Decide which windows of a scene become patches; reads no pixel but to balance classes.

    Parameters and errors are those of `seg4eo_xr.extract_patches`; `group_column` is the column of
    the grid that the split goes by.
    """
    if grid is not None and (options.stride is not None or options.sampling != "grid"):
        raise ValueError(
            "the polygons of the grid are the patches; leave stride and sampling away, or the grid"
        )
    name = name or _source_name(scene)
    scene = open_scene(scene)
    coded = isinstance(labels, xr.DataArray) and not is_numbered(labels.attrs)
    opened = open_labels(labels, like=scene, classes=None if coded else classes)
    if coded and classes is not None:
        # without a look at the pixels: of a code that is not among them the patch is named later
        warn_of_renaming(meant_table(opened.attrs), classes, "the labels")
        # an entry for pixels that have no label by the labels' own table
        none = [] if meant_table(opened.attrs) is None else [int(opened.rio.nodata)]
        opened = opened.assign_attrs(classes.without(none).to_attrs())
    labels = opened
    if scene.chunks is None:
        scene = scene.chunk({"band": -1, "y": _CHUNK_OF_ARRAYS, "x": _CHUNK_OF_ARRAYS})
    if labels.chunks is None:
        labels = labels.chunk({"y": _CHUNK_OF_ARRAYS, "x": _CHUNK_OF_ARRAYS})
    size, nodata, ignore = options.patch_size, scene.rio.nodata, int(labels.rio.nodata)
    if grid is not None:
        windows = polygon_windows(grid, scene, id_column, group_column)
        _warn_of_resampling(windows, size)
    else:
        windows = _own_windows(labels, ignore, options)
    return ScenePatches(
        name,
        scene,
        labels,
        windows,
        (
            Resampling(size, options.interpolation, None if nodata is None else float(nodata)),
            Resampling(size, "nearest", ignore),
        ),
    )


def _own_windows(labels: xr.DataArray, ignore: int, options: ExtractOptions) -> PatchWindows:
    shape, size = (labels.sizes["y"], labels.sizes["x"]), options.patch_size
    if options.sampling == "grid":
        return regular_windows(shape, size, options.stride, options.edges)
    assert options.samples is not None  # the options have checked it
    draw = size, options.samples, options.sampling_seed
    if options.sampling == "random":
        return random_windows(shape, *draw, edges=options.edges)
    return balanced_windows(labels, *draw, ignore=ignore, edges=options.edges)


class ResamplingWarning(Seg4EOWarning):
    """Patches do not hold the scene's own pixels."""


def _warn_of_resampling(windows: PatchWindows, size: int) -> None:
    height, width = (int(np.median(sides)) for sides in (windows.heights, windows.widths))
    if (height, width) != (size, size):
        warnings.warn(
            f"the grid's cells are {height} × {width} px and are resampled to {size} × {size} px; "
            "with another patch_size (--patch_size) patches keep the scene's own pixels",
            ResamplingWarning,
            stacklevel=4,
        )


def _source_name(scene: Any) -> str:
    if isinstance(scene, str | Path):
        return str(scene)
    if isinstance(scene, xr.DataArray | xr.Dataset):
        return str(scene.encoding.get("source", UNNAMED))
    return ", ".join(map(str, scene))
