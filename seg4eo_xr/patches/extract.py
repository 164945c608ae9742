"""From a scene and its labels to a patch store, through one lazy graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import compute

from seg4eo_xr.options import with_changes
from seg4eo_xr.patches.description import describe_extraction
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.planning import plan_extraction
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.writing import commit, create_arrays, staged
from seg4eo_xr.progress import progress_bar

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.open import SceneSource


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
    options = with_changes(options or ExtractOptions(), changes)
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
