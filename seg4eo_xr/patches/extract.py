"""From a scene and its labels to a patch store, through one lazy graph."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import compute

from seg4eo_xr.patches.assembly import Interpolation  # noqa: TC001  (tyro reads annotations)
from seg4eo_xr.patches.description import describe_extraction
from seg4eo_xr.patches.planning import plan_extraction
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.writing import commit, create_arrays, staged
from seg4eo_xr.progress import progress_bar
from seg4eo_xr.scenes.contract import NodataRule, NormalizationKind  # noqa: TC001

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.open import SceneSource


@dataclass(frozen=True)
class ExtractOptions:
    """How patches are cut and stored."""

    patch_size: int = 224
    """Side of a patch, in pixels."""
    stride: int | None = None
    """Pixels between the starts of neighbouring patches of a regular grid; else patch_size."""
    interpolation: Interpolation = "nearest"
    """How grid cells of another size become patches; labels always take the nearest pixel."""
    normalization: NormalizationKind = "percentile"
    """How a model trained on this store normalises its input."""
    min_valid_fraction: float = 0.0
    """Least share of pixels with data and a label; patches below, and without any, are not used."""
    nodata_rule: NodataRule = "any"
    """A pixel is missing where any, or where all, of its bands are."""
    shard_size: int | None = None
    """Patches a shard file, a power of two; by default as many as make 64 to 128 MB."""
    overwrite: bool = False
    """Replace a patch store that exists already."""

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1 pixel, got {self.patch_size}")
        if not 0 <= self.min_valid_fraction <= 1:
            raise ValueError(f"min_valid_fraction must lie in 0..1, got {self.min_valid_fraction}")
        size = self.shard_size
        if size is not None and (size < 1 or size & (size - 1)):
            raise ValueError(f"shard_size must be a power of two, got {size}")
        for name, accepted in (
            ("interpolation", ("nearest", "bilinear", "bicubic", "lanczos")),
            ("normalization", ("percentile", "standard", "none")),
            ("nodata_rule", ("any", "all")),
        ):
            if getattr(self, name) not in accepted:
                raise ValueError(
                    f"{name} must be one of {', '.join(accepted)}, got {getattr(self, name)!r}"
                )


def extract_patches(
    scene: SceneSource,
    labels: str | Path | xr.DataArray | gpd.GeoDataFrame,
    store: str | Path,
    options: ExtractOptions | None = None,
    *,
    grid: gpd.GeoDataFrame | str | Path | None = None,
    id_column: str | None = None,
    split: Split | None = None,
    classes: ClassTable | None = None,
    progress: bool = True,
    **changes: Any,
) -> PatchStore:
    """Cut a scene and its labels into patches, and store them for training.

    Each chunk of the scene is read once. Patches are the stored numbers of the scene; statistics,
    class counts and the model's contract are taken on the way, from pixels with data only.

    Parameters
    ----------
    scene
        What `open_scene` takes: ``(band, y, x)``.
    labels
        What `open_labels` takes: class codes on the scene's grid, or polygons.
    store
        Folder to write, by custom ``<name>.zarr``.
    options
        How to cut; `ExtractOptions` has the defaults.
    grid
        Polygons, one a patch; None lays a regular grid.
    id_column
        Column of `grid` that names the patches.
    split
        `RandomSplit` (the default), `SpatialSplit` or another rule.
    classes
        Codes, names and colours; None takes the labels' own table, or else the codes that occur.
    progress
        Show a bar where it takes longer than two seconds.
    **changes
        Single options by name, as ``patch_size=256``.

    Returns
    -------
    PatchStore
        Open for reading.

    Raises
    ------
    FileExistsError
        If the store exists.
    OSError
        If the store cannot be written or the scene cannot be read.
    ValueError
        If scene and labels do not align, the scene is smaller than a patch or all nodata, or a
        label is not in the class table. Nothing is left behind then.
    """
    options = _with_changes(options or ExtractOptions(), changes)
    job = plan_extraction(
        scene, labels, options, grid=grid, id_column=id_column, split=split, classes=classes
    )
    target = Path(store).absolute()
    with staged(target, overwrite=options.overwrite) as path:
        create_arrays(path, job.layout)
        with progress_bar("extracting patches", enabled=progress):
            (summary,) = compute(job.graph(path))
        commit(path, *describe_extraction(job, summary))
    return open_store(target)


def _with_changes(options: ExtractOptions, changes: dict[str, Any]) -> ExtractOptions:
    accepted = [field.name for field in fields(ExtractOptions)]
    unknown = sorted(set(changes) - set(accepted))
    if unknown:
        raise TypeError(f"unknown options {unknown}; accepted are {', '.join(accepted)}")
    return replace(options, **changes)
