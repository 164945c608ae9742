"""Maps as Cloud Optimized GeoTIFFs: whole or not there at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.windows import Window

from seg4eo_xr.inference.heap import release_free_memory
from seg4eo_xr.maps.layers import checked_map, smaller_batch
from seg4eo_xr.maps.mosaic import (
    CATEGORIES_SUFFIX,
    GDAL_TYPES,
    category_names,
    compute_blocks,
    write_categories,
    write_vrt,
)
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    import xarray as xr

# rasterio hands this setting to GDAL as bytes, never as megabytes.
_CACHE_BYTES = 64 * 2**20
_BLOCKS = (512, 256, 384)
_LARGE = 512
_VERIFY_SIDE = 2048


def write_cog(
    prediction: xr.Dataset,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    **other_layers: str | PathLike[str],
) -> Path:
    """Write a map as a Cloud Optimized GeoTIFF, and further layers as files of their own.

    Names of classes also go to ``<path>.aux.xml``, where GDAL and QGIS look for them.
    All layers are computed together in one pass, by whatever scheduler dask is set to; the workers
    of a cluster must see the folder of `path`. Files appear under their final names when all of
    them are complete and verified, the map itself last.

    Parameters
    ----------
    prediction
        Layers ``(y, x)`` with a CRS, as ``predict`` gives them; of a layer such as
        ``probabilities (class, y, x)`` each class is a band, and of a time series each date. The
        layer ``classes`` goes to `path`, or the only layer where there is just one. Class names and
        colours come from its attributes (see `ClassTable.to_attrs`).
    path
        Where the map goes.
    overwrite
        Whether existing files may be replaced.
    **other_layers
        Paths of further layers by name, as ``confidence="confidence.tif"``.

    Returns
    -------
    Path
        Where the map is.

    Raises
    ------
    FileExistsError
        If an output exists and `overwrite` is False.
    FileNotFoundError, OSError
        If an output cannot be written, or not completely.
    ValueError
        If a layer is missing, has too many dimensions, or has no CRS.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), seed=2)
    >>> with TemporaryDirectory() as folder:
    ...     path = write_cog(labels.to_dataset(name="classes"), f"{folder}/map.tif")
    ...     verify_cog(path)
    ...     path.name
    'map.tif'
    """
    targets = _targets(prediction, Path(path), {k: Path(v) for k, v in other_layers.items()})
    dataset = checked_map(in_types_of_gdal(prediction[list(targets)]))
    _require_rasters(dataset)
    with ExitStack() as stack:
        folders = {
            name: stack.enter_context(staging(target, overwrite=overwrite))
            for name, target in targets.items()
        }
        compute_blocks(dataset, folders)
        release_free_memory()  # what networks have left behind
        attrs = {**dataset.attrs, **smaller_batch(dataset.attrs)}
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES))
        with ThreadPoolExecutor(len(targets)) as pool:
            waiting = [
                pool.submit(_finish, dataset[name], attrs, folders[name], target)
                for name, target in targets.items()
            ]
            finished = [future.result() for future in waiting]
        for file, (name, target) in reversed(list(zip(finished, targets.items(), strict=True))):
            commit(file, target)
            remove_sidecars(target)
            names = category_names(dataset[name])
            if names:
                sidecar = write_categories(names, file)
                sidecar.replace(target.with_name(target.name + CATEGORIES_SUFFIX))
    return Path(path)


def _targets(prediction: xr.Dataset, path: Path, others: dict[str, Path]) -> dict[str, Path]:
    """Pair layers with files, the map itself first."""
    names = [str(name) for name in getattr(prediction, "data_vars", ())]
    rest = [name for name in names if name not in others]
    main = rest[0] if len(rest) == 1 else "classes"
    targets = {main: path, **others}
    missing = [name for name in targets if name not in names]
    if names and missing:
        raise ValueError(f"the prediction has no layer {missing[0]!r}; its layers are {names}")
    if len({target.absolute() for target in targets.values()}) < len(targets):
        raise ValueError(f"each layer needs a file of its own, got {[*map(str, targets.values())]}")
    return targets if names else {}


def in_types_of_gdal(prediction: xr.Dataset) -> xr.Dataset:
    """Store half floats as whole ones: no version of GDAL that reads them is common yet."""
    halves = [name for name, layer in prediction.data_vars.items() if layer.dtype == np.float16]
    return prediction.assign({name: prediction[name].astype(np.float32) for name in halves})


def _require_rasters(dataset: xr.Dataset) -> None:
    for name, layer in dataset.data_vars.items():
        if layer.ndim > 3:
            raise ValueError(
                f"layer {name!r} has the dimensions {layer.dims}, but a GeoTIFF holds (y, x) and "
                "one more; pick one with isel, or write all with write_zarr"
            )
        if layer.dtype.name not in GDAL_TYPES:
            raise ValueError(
                f"layer {name!r} is {layer.dtype}, which a GeoTIFF cannot hold; "
                f"convert it with astype to one of {', '.join(GDAL_TYPES)}"
            )


def _finish(layer: xr.DataArray, attrs: Mapping[str, object], folder: Path, target: Path) -> Path:
    """Make the final file of one layer inside its staging folder and verify it."""
    vrt = write_vrt(layer, attrs, folder)
    finished = folder / "finished.tif"
    categorical = layer.dtype.kind in "iu" and "scale_factor" not in layer.attrs
    try:
        with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS", GDAL_PAM_ENABLED=False):
            rasterio.shutil.copy(
                str(vrt),
                str(finished),
                driver="COG",
                BLOCKSIZE=_block_size(layer.shape[-2:]),
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
                OVERVIEW_RESAMPLING="MODE" if categorical else "AVERAGE",
                COMPRESS="DEFLATE",
                # Higher levels gain nothing on the noisy mantissas of a confidence.
                LEVEL=6 if categorical else 1,
                PREDICTOR="YES" if layer.dtype.kind == "f" else "NO",
            )
        verify_cog(finished)
    except (RasterioError, OSError, ValueError) as error:
        raise OSError(
            f"{target} could not be written completely: {error}; is the disk full?"
        ) from error
    return finished


def _block_size(shape: tuple[int, ...]) -> int:
    """Side of the tiles: common validators take a large level that is one tile wide for strips."""
    for block in _BLOCKS:
        height, width = shape
        while max(height, width) > _LARGE and width != block:
            height, width = -(-height // 2), -(-width // 2)
        if max(height, width) <= _LARGE:
            return block
    return _BLOCKS[0]


def remove_sidecars(target: Path) -> None:
    """Statistics and overviews beside a replaced file belong to the old one."""
    for suffix in (".aux.xml", ".ovr", ".msk"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)


def verify_cog(path: str | PathLike[str]) -> None:
    """Check that every tile of a GeoTIFF is there and can be decoded, overviews included.

    GDAL's validators look at the structure alone and pass files that were cut short.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no TIFF, ends early, lacks a tile, or a tile does not decode.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64))
    >>> with TemporaryDirectory() as folder:
    ...     verify_cog(write_cog(labels.to_dataset(name="classes"), f"{folder}/map.tif"))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    _require_all_tiles(path)
    try:
        with rasterio.open(path) as file:
            levels = len(file.overviews(1))
        for level in (None, *range(levels)):
            _decode(path, level)
    except RasterioError as error:
        raise ValueError(f"{path} is damaged, {error}; write it again") from error


def _require_all_tiles(path: Path) -> None:
    import tifffile

    size = path.stat().st_size
    try:
        with tifffile.TiffFile(path) as tiff:
            for level, page in enumerate(tiff.pages):
                offsets = np.asarray(page.dataoffsets, np.int64)
                counts = np.asarray(page.databytecounts, np.int64)
                if len(offsets) != len(counts) or not len(counts):
                    raise ValueError(
                        f"{path} is cut short: it has lost the index of its tiles; write it again"
                    )
                missing = int(((counts == 0) | (offsets == 0)).sum())
                beyond = int((offsets + counts > size).sum())
                if missing or beyond:
                    raise ValueError(
                        f"{path} is incomplete: at level {level}, {missing} tiles are missing and "
                        f"{beyond} lie past the end of the file; write it again"
                    )
    except (tifffile.TiffFileError, IndexError, KeyError) as error:
        raise ValueError(f"{path} is not a complete TIFF file: {error}; write it again") from error


def _decode(path: Path, level: int | None) -> None:
    options = {} if level is None else {"overview_level": level}
    with rasterio.open(path, num_threads="ALL_CPUS", **options) as file:
        for top in range(0, file.height, _VERIFY_SIDE):
            for left in range(0, file.width, _VERIFY_SIDE):
                file.read(window=Window(left, top, _VERIFY_SIDE, _VERIFY_SIDE))
