"""One raster file as a lazy DataArray, read through rioxarray in whole file blocks."""

from __future__ import annotations

import warnings
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask.array as da
import numpy as np
import rasterio
import rioxarray
import xarray as xr
from dask.base import tokenize
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.file_layout import (
    BY_BAND,
    FileLayout,
    ReadRules,
    layout_of,
    notices_of,
    read_window,
)
from seg4eo_xr.scenes.grid import missing_crs, require_north_up_grid, require_real_dtype
from seg4eo_xr.scenes.missing import SceneWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rasterio import DatasetReader

Chunks = int | dict[str, int] | Literal["auto"] | None

_CHUNK_SIDE = 2048  # pixels
# Work that overlaps the next row of chunks makes the rest of that row wait in memory, so a chunk of
# ten bands is as high as a file's block, and not higher.
_CHUNK_BYTES = 6e6
# Of a file without tiles each chunk has whole rows, of which all work beside each other cuts its
# part: with few rows a chunk, those are many cuts.
_WHOLE_ROWS_BYTES = 32e6


def is_remote(source: str | Path) -> bool:
    """Tell whether `source` is a URL or a path of GDAL's virtual file systems."""
    return "://" in str(source) or str(source).startswith("/vsi")


def is_raster(source: str | Path) -> bool:
    """Tell whether GDAL opens `source` as a raster."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(source):
                return True
    except RasterioIOError:
        return False


def require_local_path(source: str | Path, what: str) -> None:
    """Raise FileNotFoundError where `source` is a local path that does not exist."""
    if not is_remote(source) and not Path(source).exists():
        raise FileNotFoundError(
            f"{what} {str(source)!r} does not exist; check the path "
            f"(relative paths start at {Path.cwd()})"
        )


def read_raster(
    path: str | Path, *, chunks: Chunks = "auto", what: str, keep_alpha: bool = False
) -> xr.DataArray:
    """Open one raster file of codes, such as labels, that GDAL reads; scenes have `read_scene`.

    Parameters
    ----------
    path
        Path or URL.
    chunks
        Side of a dask chunk in pixels, or sides by dimension; ``auto`` takes whole file blocks of
        about 6 MB and at most 2048 pixels, or 32 MB of a file without tiles; None the same.
    what
        What error messages call the file.
    keep_alpha
        Whether a band that is marked as alpha is a band like the others.

    Returns
    -------
    DataArray (band, y, x)
        Stored numbers, not scaled, one chunk along ``band``. What the file's masks or an alpha band
        hide has the nodata value; if the file states none, the array has a wider dtype, whose
        lowest number it is, so that every code stays what it is.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    OSError
        If it cannot be opened or is cut short; and when a block is read that cannot be decoded.
    ValueError
        If it holds several subdatasets, complex numbers or a rotated grid, or lies nowhere.
    """
    require_local_path(path, what)
    rules = ReadRules(keep_alpha=keep_alpha, codes=True)
    return _lazy(path, chunks, _layout(path, what, rules), what)


def read_scene(
    path: str | Path,
    chunks: Chunks = "auto",
    *,
    nodata: float | None = None,
    keep_alpha: bool = False,
) -> xr.DataArray:
    """Open one raster file that GDAL reads (GeoTIFF, COG, VRT, JPEG 2000 and others) as a scene.

    Pixels that a mask of the file or its alpha band hides become nodata, and so do those that have
    the nodata value of their band. Where the file states no number that its dtype can hold, the
    nodata value is 0 for unsigned integers, the lowest number for signed integers and NaN for
    floats; valid numbers that equal it move by one. Indices of a colour table become red, green
    and blue.

    Parameters
    ----------
    path
        Path or URL.
    chunks
        As in `read_raster`.
    nodata
        Nodata value that replaces what the file states; its masks stay.
    keep_alpha
        Whether a band that the file marks as alpha is a band of the scene.

    Returns
    -------
    DataArray (band, y, x)
        Stored numbers in the file's dtype, not scaled, one chunk along ``band``.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As in `read_raster`; also if only some of several bands have a colour table.

    Warns
    -----
    SceneWarning
        If an alpha band is no band of the scene, colours replace indices, the dtypes of the bands
        differ, or the nodata value of the file fits no pixel.
    """
    require_local_path(path, "scene")
    layout = _layout(path, "scene", ReadRules(nodata=nodata, keep_alpha=keep_alpha))
    return _lazy(path, chunks, layout, "scene")


def _lazy(path: str | Path, chunks: Chunks, layout: FileLayout, what: str) -> xr.DataArray:
    """Make a lazy array of a file whose layout is known."""
    _require_complete(path, what)
    try:
        opened = _opened(path, layout)
    except (RasterioIOError, OverflowError, ValueError) as error:
        raise OSError(f"cannot open {what} {str(path)!r}: {error}") from error
    opened = opened.drop_attrs(deep=False).assign_attrs(layout.attrs_of(opened.attrs))
    sizes = {str(name): size for name, size in opened.sizes.items()}
    sides = chunk_sides(sizes, layout.blocks, layout.dtype.itemsize, chunks)
    place = str(path) if is_remote(path) else str(Path(path).absolute())
    lazy = da.from_array(
        _Reader(place, opened.shape, layout),
        chunks=(sizes["band"], sides["y"], sides["x"]),
        name=_name_of_chunks(place, sides, layout),
        lock=False,
        meta=np.empty((0, 0, 0), layout.dtype),
    )
    return opened.copy(data=lazy)


def _opened(path: str | Path, layout: FileLayout) -> xr.DataArray:
    """What rioxarray makes of a file's header: one entry along ``band`` for each of the scene's."""
    with warnings.catch_warnings():
        # scales that differ by band are kept as they are, so rioxarray's hint is not needed
        warnings.filterwarnings("ignore", message="(Scales|Offsets) differ", category=UserWarning)
        opened: Any = rioxarray.open_rasterio(
            path,
            masked=False,
            mask_and_scale=False,
            lock=False,
            cache=False,
            band_as_variable=layout.mixed,
        )
    if layout.mixed:
        planes = [opened[name] for name in opened.data_vars]
        opened = planes[0].expand_dims(band=range(1, len(planes) + 1))
        # one number or text for each band, as for bands of one dtype
        opened.attrs |= {
            key: tuple(plane.attrs.get(name) for plane in planes)
            for key, name in BY_BAND.items()
            if any(name in plane.attrs for plane in planes)
        }
    assert isinstance(opened, xr.DataArray)  # subdatasets are refused before
    named: xr.DataArray = opened.rename({opened.dims[0]: "band"})
    if layout.palette is not None:
        return named.isel(band=[0] * layout.count).assign_coords(band=range(1, layout.count + 1))
    if len(layout.bands) < named.sizes["band"]:
        return named.isel(band=[band - 1 for band in layout.bands])
    return named


def chunk_sides(
    sizes: Mapping[str, int], blocks: tuple[int, int], itemsize: int, chunks: Chunks
) -> dict[str, int]:
    """Sides of dask chunks along y and x, in pixels.

    Parameters
    ----------
    sizes
        Length of ``band``, ``y`` and ``x``.
    blocks
        Height and width of the file's blocks; automatic chunks are multiples, so that no block is
        decoded twice.
    itemsize
        Bytes a number.
    chunks
        As in `read_raster`.

    Examples
    --------
    >>> chunk_sides({"band": 10, "y": 10980, "x": 10980}, (256, 256), 2, "auto")
    {'y': 512, 'x': 512}
    >>> chunk_sides({"band": 3, "y": 10980, "x": 10980}, (1, 10980), 2, "auto")
    {'y': 382, 'x': 10980}
    """
    if isinstance(chunks, int):
        chunks = {"y": chunks, "x": chunks}
    wanted = _WHOLE_ROWS_BYTES if blocks[1] >= sizes["x"] else _CHUNK_BYTES
    side = min(_CHUNK_SIDE, sqrt(wanted / (sizes["band"] * itemsize)))
    width = min(sizes["x"], blocks[1] * max(1, round(side / blocks[1])))
    height = min(sizes["y"], blocks[0] * max(1, round(side * side / width / blocks[0])))
    given = chunks if isinstance(chunks, dict) else {}
    result = {"y": given.get("y", height), "x": given.get("x", width)}
    return {dim: sizes[dim] if length == -1 else length for dim, length in result.items()}


class _Reader:
    """What dask reads chunks from; errors of reading name the file and what to do.

    The file is opened for each chunk. A file that stays open fills GDAL's cache with blocks that
    nobody reads again, up to a twentieth of the machine's memory.
    """

    def __init__(self, path: str, shape: tuple[int, ...], layout: FileLayout) -> None:
        self._path = path
        self._layout = layout
        self.shape = shape
        self.dtype = layout.dtype
        self.ndim = len(shape)

    def __getitem__(self, key: tuple[slice | int, ...]) -> np.ndarray:
        # A chunk; where dask has merged a selection into reading, a part of it, or single rows.
        parts = [index if isinstance(index, slice) else slice(index, index + 1) for index in key]
        bands, rows, cols = (range(n)[part] for n, part in zip(self.shape, parts, strict=True))
        window = ((rows.start, rows.stop), (cols.start, cols.stop))
        try:
            with rasterio.open(self._path) as file:
                values = read_window(file, self._layout, bands, window)
        except RasterioIOError as error:
            reason = error.__cause__ or error
            why = f"the file is truncated or damaged ({reason}); copy or download it again"
            if is_remote(self._path):
                why = f"{reason}; {remote_remedy(self._path)}, or whether the file is damaged"
            raise OSError(
                f"cannot read rows {rows.start}..{rows.stop} and columns {cols.start}..{cols.stop} "
                f"of {self._path!r}: {why}"
            ) from error
        steps = (1, rows.step, cols.step)
        return np.asarray(
            values[
                tuple(
                    slice(None, None, step) if isinstance(index, slice) else 0
                    for index, step in zip(key, steps, strict=True)
                )
            ]
        )


def _layout(path: str | Path, what: str, rules: ReadRules) -> FileLayout:
    """Refuse what cannot become an array; find out what of the file becomes its bands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the checks below speak
            with rasterio.open(path) as file:
                _require_usable(file, path, what)
                layout = layout_of(file, f"{what} {str(path)!r}", rules)
                notices = [] if rules.codes else list(notices_of(file, layout, rules))
    except RasterioIOError as error:
        remedy = "it may be truncated, or of a format that this GDAL does not read"
        if is_remote(path):
            remedy = remote_remedy(str(path))
        raise OSError(f"cannot open {what} {str(path)!r} as a raster: {error}; {remedy}") from error
    for notice in notices:
        warn(notice, SceneWarning, stacklevel=3)
    return layout


def _require_usable(file: DatasetReader, path: str | Path, what: str) -> None:
    """Refuse a file without bands or place, with a rotated grid or complex numbers."""
    if file.count == 0:
        raise ValueError(
            f"{what} {str(path)!r} holds no raster band of its own; its subdatasets "
            f"are {file.subdatasets or 'none'}: open one of them"
        )
    if file.crs is None:
        raise ValueError(missing_crs(f"{what} {str(path)!r}", str(path)))
    require_north_up_grid(file.transform, f"{what} {str(path)!r}", str(path))
    require_real_dtype(file.dtypes, f"{what} {str(path)!r}")


def remote_remedy(address: str) -> str:
    """What to do about a file that is not read over the network."""
    if not address.startswith(("s3://", "/vsis3/")):
        return "check the address and the network"
    return (
        "check the address, the network and the credentials (GDAL takes the host of another "
        "service than Amazon's from AWS_S3_ENDPOINT, without https://, and not from "
        "AWS_ENDPOINT_URL)"
    )


def _require_complete(path: str | Path, what: str) -> None:
    """Refuse a TIFF whose tiles reach past the end of the file: GDAL opens such a file gladly."""
    if is_remote(path) or Path(path).suffix.lower() not in (".tif", ".tiff"):
        return
    import tifffile

    size = Path(path).stat().st_size
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            ends = np.add(page.dataoffsets, page.databytecounts)
    except (tifffile.TiffFileError, IndexError, ValueError, AttributeError):
        return  # GDAL opened it, so reading will tell
    if ends.size and int(ends.max()) > size:
        raise OSError(
            f"{what} {str(path)!r} is truncated: {int((ends > size).sum())} of its {ends.size} "
            f"blocks lie beyond its {size} bytes; copy or download it again"
        )


def _name_of_chunks(path: str, sides: dict[str, int], layout: FileLayout) -> str:
    """Name of an array in dask graphs; "raster" promises that the file holds the same numbers."""
    if not layout.changes_numbers:
        return f"raster-{tokenize(path, _version(path), sides)}"
    sidecar = f"{path}.msk"
    mask = _version(sidecar) if not is_remote(path) and Path(sidecar).exists() else None
    return f"marked-{tokenize(path, _version(path), sides, layout, mask)}"


def _version(path: str | Path) -> tuple[int, int] | None:
    """Size and time of a local file, which name its chunks in dask graphs."""
    if is_remote(path):
        return None
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
