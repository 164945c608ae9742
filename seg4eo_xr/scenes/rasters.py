"""One raster file as a lazy DataArray, read through rioxarray in whole file blocks."""

from __future__ import annotations

import warnings
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dask.array as da
import numpy as np
import rasterio
import rioxarray
import xarray as xr
from dask.base import tokenize
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from seg4eo_xr.pages import empty_pages
from seg4eo_xr.scenes.grid import missing_crs, require_north_up_grid, require_real_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def read_raster(path: str | Path, *, chunks: Chunks = "auto", what: str = "scene") -> xr.DataArray:
    """Open one raster file that GDAL reads: GeoTIFF, COG, VRT, JPEG 2000 and others.

    Parameters
    ----------
    path
        Path or URL.
    chunks
        Side of a dask chunk in pixels, or sides by dimension; ``auto`` takes whole file blocks of
        about 6 MB and at most 2048 pixels, or 32 MB of a file without tiles; None the same.
    what
        What error messages call the file.

    Returns
    -------
    DataArray (band, y, x)
        Stored numbers as rioxarray gives them, neither masked nor scaled, one chunk along ``band``.

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
    blocks = _require_usable(path, what)
    _require_complete(path, what)
    try:
        with warnings.catch_warnings():
            # scales that differ by band are kept as they are, so rioxarray's hint is not needed
            warnings.filterwarnings(
                "ignore", message="(Scales|Offsets) differ", category=UserWarning
            )
            opened = rioxarray.open_rasterio(
                path, masked=False, mask_and_scale=False, lock=False, cache=False
            )
    except (RasterioIOError, OverflowError, ValueError) as error:
        raise OSError(f"cannot open {what} {str(path)!r}: {error}") from error
    assert isinstance(opened, xr.DataArray)  # subdatasets are refused above
    opened = opened.rename({opened.dims[0]: "band"})
    sizes = {str(name): size for name, size in opened.sizes.items()}
    sides = chunk_sides(sizes, blocks, opened.dtype.itemsize, chunks)
    place = str(path) if is_remote(path) else str(Path(path).absolute())
    reader = _Reader(place, opened.shape, opened.dtype)
    lazy = da.from_array(
        reader,
        chunks=(sizes["band"], sides["y"], sides["x"]),
        name=f"raster-{tokenize(place, _version(path), sides)}",
        lock=False,
        meta=np.empty((0, 0, 0), opened.dtype),
    )
    return opened.copy(data=lazy)


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

    def __init__(self, path: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._path = path
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)

    def __getitem__(self, key: tuple[slice | int, ...]) -> np.ndarray:
        # A chunk; where dask has merged a selection into reading, a part of it, or single rows.
        parts = [index if isinstance(index, slice) else slice(index, index + 1) for index in key]
        bands, rows, cols = (range(n)[part] for n, part in zip(self.shape, parts, strict=True))
        window = ((rows.start, rows.stop), (cols.start, cols.stop))
        try:
            with rasterio.open(self._path) as file:
                chosen = [band + 1 for band in bands]
                shape = (len(chosen), *(max(0, stop - start) for start, stop in window))
                values = empty_pages(shape, self.dtype)
                if values.size:
                    file.read(chosen, window=window, out=values)
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


def _require_usable(path: str | Path, what: str) -> tuple[int, int]:
    """Refuse what cannot become a scene; return height and width of the file's blocks."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the checks below speak
            with rasterio.open(path) as file:
                if file.count == 0:
                    raise ValueError(
                        f"{what} {str(path)!r} holds no raster band of its own; its subdatasets "
                        f"are {file.subdatasets or 'none'}: open one of them"
                    )
                if file.crs is None:
                    raise ValueError(missing_crs(f"{what} {str(path)!r}", str(path)))
                require_north_up_grid(file.transform, f"{what} {str(path)!r}", str(path))
                require_real_dtype(file.dtypes, f"{what} {str(path)!r}")
                height, width = file.block_shapes[0]
                return int(height), int(width)
    except RasterioIOError as error:
        remedy = "it may be truncated, or of a format that this GDAL does not read"
        if is_remote(path):
            remedy = remote_remedy(str(path))
        raise OSError(f"cannot open {what} {str(path)!r} as a raster: {error}; {remedy}") from error


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


def _version(path: str | Path) -> tuple[int, int] | None:
    """Size and time of a local file, which name its chunks in dask graphs."""
    if is_remote(path):
        return None
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
