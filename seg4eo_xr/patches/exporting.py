"""A patch store written out as GeoTIFF patches, in the layout that many tools read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import rasterio
from affine import Affine
from dask.delayed import delayed
from rasterio.dtypes import check_dtype, in_dtype_range
from rasterio.errors import RasterioError

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.report import patch_names
from seg4eo_xr.patches.store import PatchStore, open_store
from seg4eo_xr.progress import progress_bar
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.staging import commit, require_local, staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.scenes.classes import ClassTable

_PLACE = ("scene", "row", "col", "height", "width")
_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_STEM = 150  # letters; file systems take 255 bytes
# Dtypes whose GeoTIFFs may hold a colour table.
_PALETTE_DTYPES = ("uint8", "uint16")


@dataclass(frozen=True)
class PatchFile:
    """A patch of a store and where it goes.

    Parameters
    ----------
    position
        In the store.
    split, stem
        Folder, and name of its two files without suffix.
    crs
        As WKT.
    transform
        The six numbers of the patch's pixels, as `affine.Affine` takes them.
    """

    position: int
    split: SplitName
    stem: str
    crs: str
    transform: tuple[float, ...]


def export_patches(
    store: str | Path | PatchStore,
    folder: str | Path,
    *,
    splits: Sequence[SplitName] | None = None,
    progress: bool = True,
) -> Path:
    """Write the patches of a store as GeoTIFFs, for tools that read files.

    Each patch becomes ``<split>/images/<id>.tif`` and ``<split>/labels/<id>.tif``, with CRS,
    transform, nodata, band names, scaling, and names and colours of the classes. Where ids repeat,
    the scene's name goes before them; what makes no file name becomes an underscore; patches that
    would share a name even so get a number. Dask runs a task a shard; the workers of a cluster must
    see `store` and `folder`.

    Parameters
    ----------
    store
        The store, or where it lies.
    folder
        Folder to make. It appears when all files are written.
    splits
        ``train``, ``validation``, ``test``; None for all three. Unused patches are never written.
    progress
        Show a bar where it takes longer than two seconds.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder exists.
    FileNotFoundError, OSError
        If the store cannot be read or the files cannot be written.
    ValueError
        If there is no such split or no patch in it, or GeoTIFF cannot hold the dtype.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.patches.extract import extract_patches
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((128, 128), nodata_wedge=False)
    >>> with TemporaryDirectory() as folder:
    ...     store = extract_patches(
    ...         scene, labels, f"{folder}/patches.zarr", patch_size=32, progress=False
    ...     )
    ...     written = export_patches(store, f"{folder}/Patch", progress=False)
    ...     sorted(path.name for path in written.iterdir())
    ['test', 'train', 'validation']
    """
    require_local(Path(folder))
    store, target = open_store(store), Path(folder).absolute()
    if target.exists():
        raise FileExistsError(f"{target} exists already; choose a folder that does not exist yet")
    if not check_dtype(store.dtype.name):
        raise ValueError(f"a GeoTIFF cannot hold patches of {store.dtype} as {store.path} has them")
    files = plan_files(store, SPLITS if splits is None else splits)
    shards: dict[int, list[PatchFile]] = {}
    for file in files:
        shards.setdefault(file.position // store.shard_size, []).append(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    with staging(target, overwrite=False) as temporary:
        finished = temporary / "patches"
        for split in {file.split for file in files}:
            for kind in ("images", "labels"):
                (finished / split / kind).mkdir(parents=True)
        write = delayed(_write_files, pure=False)
        with progress_bar("exporting patches", enabled=progress):
            run_to_the_end([write(store.path, finished, part) for part in shards.values()])
        commit(finished, target)
    return target


def plan_files(store: PatchStore, splits: Iterable[SplitName]) -> list[PatchFile]:
    """Name the files of some splits' patches and place them on the ground; reads no patch.

    Raises
    ------
    ValueError
        If there is no such split, or no patch in any of them.
    """
    positions = np.sort(np.concatenate([store.indices(split) for split in splits]))
    if not len(positions):
        raise ValueError(f"{store.path} has no patch in {', '.join(splits)}; choose other splits")
    numbers = np.stack([store.coordinate(name)[positions] for name in _PLACE], axis=1)
    names = patch_names(store)
    stems = safe_stems([names[position] for position in positions])
    grids = [store.grid_of_scene(number) for number in range(len(store.attrs["scenes"]))]
    files = []
    for position, stem, place in zip(positions.tolist(), stems, numbers.tolist(), strict=True):
        scene, row, col, height, width = place
        origin, crs = grids[scene]
        transform = (
            origin
            @ Affine.translation(col, row)
            @ Affine.scale(width / store.patch_size, height / store.patch_size)
        )
        split = cast("SplitName", str(store.splits[position]))
        files.append(PatchFile(position, split, stem, crs, tuple(transform)[:6]))
    return files


def safe_stems(ids: Sequence[str]) -> list[str]:
    """Make file names of ids: safe on any file system, and different even where case is ignored.

    Examples
    --------
    >>> safe_stems(["north/1", "north 1", "a", "A"])
    ['north_1', 'north_1-2', 'a', 'A-2']
    """
    taken: set[str] = set()
    stems = []
    for name in ids:
        stem = _UNSAFE.sub("_", str(name)).strip(".")[:_LONGEST_STEM] or "_"
        candidate, number = stem, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{stem}-{number}"
        taken.add(candidate.casefold())
        stems.append(candidate)
    return stems


def _write_files(path: Any, folder: Path, files: Sequence[PatchFile]) -> None:
    """Write the patches of one shard, one by one."""
    store = open_store(path)
    images, labels = store.arrays()
    contract = store.contract
    for file in files:
        image, label = np.asarray(images[file.position]), np.asarray(labels[file.position])
        base = folder / file.split
        try:
            _write_image(base / "images" / f"{file.stem}.tif", image, file, store)
            _write_label(
                base / "labels" / f"{file.stem}.tif", label, file, contract.classes, contract.ignore
            )
        except (RasterioError, OSError) as error:
            raise OSError(
                f"cannot write patch {file.stem!r} to {folder.parent.parent}: {error}; is the disk "
                "full, and does every worker see this folder?"
            ) from error


def _write_image(path: Path, image: NDArray[Any], file: PatchFile, store: PatchStore) -> None:
    contract = store.contract
    with _created(path, image, file, contract.nodata, photometric="minisblack") as raster:
        raster.descriptions = contract.bands
        raster.scales, raster.offsets = contract.scale, contract.offset
        raster.write(image)


def _write_label(
    path: Path, label: NDArray[Any], file: PatchFile, classes: ClassTable, ignore: int
) -> None:
    with _created(path, label[None], file, ignore) as raster:
        raster.update_tags(**{key: _as_tag(value) for key, value in classes.to_attrs().items()})
        if label.dtype.name in _PALETTE_DTYPES:
            colors = classes.rgb().tolist()
            raster.write_colormap(1, dict(zip(classes.codes, map(tuple, colors), strict=True)))
        raster.write(label, 1)


def _created(
    path: Path, image: NDArray[Any], file: PatchFile, nodata: float | None, **options: str
) -> Any:
    """Open a GeoTIFF for writing, with all that tells where it lies."""
    count, height, width = image.shape
    if nodata is not None and not in_dtype_range(nodata, image.dtype):
        nodata = None  # a mark that no pixel can have
    if count > 1:
        options["alpha"] = "unspecified"  # GDAL marks the fourth band of bytes as alpha
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=image.dtype,
        crs=file.crs,
        transform=Affine(*file.transform),
        nodata=nodata,
        compress="deflate",
        predictor=3 if image.dtype.kind == "f" else 2,
        **options,
    )


def _as_tag(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
