"""One raster file as a lazy DataArray, read through rioxarray in whole file blocks."""

from __future__ import annotations

import re
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

from seg4eo_xr.notices import warn, without_log
from seg4eo_xr.scenes.file_layout import (
    BY_BAND,
    FileLayout,
    ReadRules,
    layout_of,
    notices_of,
    read_window,
)
from seg4eo_xr.scenes.grid import missing_crs, north_up, require_crs_units, require_real_dtype
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.touched import content_of, key_of, known_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rasterio import DatasetReader

    from seg4eo_xr.scenes.touched import Sources

Chunks = int | dict[str, int] | Literal["auto"] | None

_CHUNK_SIDE = 2048  # pixels
# Work that overlaps the next row of chunks makes the rest of that row wait in memory, so a chunk of
# ten bands is as high as a file's block, and not higher.
_CHUNK_BYTES = 6e6
# Of a file without tiles each chunk has whole rows, of which all work beside each other cuts its
# part: with few rows a chunk, those are many cuts.
_WHOLE_ROWS_BYTES = 32e6
_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_SUBDATASET = re.compile(r"[A-Za-z]\w+:")  # two characters at least: C: is a drive
# What dask calls the readers in its graphs.
_LEAVES = ("original-raster-", "original-marked-")
_SHOWN = 12  # subdatasets in a message
# Of files that are read for a digest, about half a second where the disk is fast.
_DIGESTED_BYTES = 2 << 30


def is_remote(source: str | Path) -> bool:
    """Tell whether `source` is a URL or a path of GDAL's virtual file systems."""
    return bool(_URL.match(str(source))) or str(source).startswith("/vsi")


def file_of_subdataset(source: str | Path) -> str | None:
    """File in GDAL's name of a subdataset; None for all other paths and addresses.

    Examples
    --------
    >>> file_of_subdataset("netcdf:reflectance.nc:nir"), file_of_subdataset('HDF5:"a.h5"://x')
    ('reflectance.nc', 'a.h5')
    >>> file_of_subdataset("scene.tif") is None
    True
    """
    text = str(source)
    if not _SUBDATASET.match(text) or _URL.match(text) or Path(text).exists():
        return None
    parts = re.findall(r'"([^"]+)"', text) or text.split(":")[1:]
    parts = [part for part in parts if "." in part or "/" in part] or parts
    return next((part for part in parts if is_remote(part) or Path(part).exists()), parts[0])


def local_file(source: str | Path) -> Path | None:
    """The file on this machine that a path or the name of a subdataset leads to, if any."""
    file = file_of_subdataset(source) or source
    return None if is_remote(file) else Path(file)


def absolute_name(source: str | Path) -> str:
    """A path or name of a subdataset that a worker understands in any folder."""
    file = local_file(source)
    if file is None:
        return str(source)
    return str(source).replace(str(file), str(file.absolute()), 1)


def name_of(source: str | Path) -> str:
    """Name of what a file or subdataset holds, for its bands: a file's name without the suffix.

    Examples
    --------
    >>> name_of("data/B04.tif"), name_of("netcdf:reflectance.nc:nir"), name_of("GTIFF_DIR:2:a.tif")
    ('B04', 'nir', 'a_2')
    """
    file = file_of_subdataset(source)
    if file is None:
        return Path(source).stem
    before, after = str(source).replace('"', "").split(file, 1)
    words: list[str] = re.findall(r"\w+", after) or [f"{Path(file).stem}_{before.split(':')[-2]}"]
    return words[-1]


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
    file = local_file(source)
    if file is not None and not file.exists():
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
        Path, URL, or GDAL's name of a subdataset, such as ``netcdf:reflectance.nc:nir``.
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
        If it holds several rasters, complex numbers or a rotated grid, or lies nowhere.
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
    version = _version(path)
    file = _plain_file(path)
    known = version if version is None or file is None else known_version(file, version)
    try:
        opened = _opened(path, layout)
    except (RasterioIOError, OverflowError, ValueError) as error:
        raise OSError(f"cannot open {what} {str(path)!r}: {error}") from error
    opened = opened.drop_attrs(deep=False).assign_attrs(layout.attrs_of(opened.attrs))
    sizes = dict(zip(("band", "y", "x"), opened.shape, strict=True))
    sides = chunk_sides(sizes, layout.blocks, layout.dtype.itemsize, chunks)
    place = absolute_name(path)
    lazy = da.from_array(
        _Reader(place, opened.shape, layout, version, known),
        chunks=(sizes["band"], sides["y"], sides["x"]),
        name=_name_of_chunks(place, known, sides, layout),
        lock=False,
        meta=np.empty((0, 0, 0), layout.dtype),
    )
    return opened.copy(data=lazy)


def _opened(path: str | Path, layout: FileLayout) -> xr.DataArray:
    """What rioxarray makes of a file's header: one entry along ``band`` for each of the scene's."""
    # Without it GDAL itself writes to standard error, as of a TIFF whose tags are out of order;
    # rasterio logs what it says.
    with rasterio.Env(), warnings.catch_warnings():
        # scales that differ by band are kept as they are, so rioxarray's hint is not needed
        warnings.filterwarnings("ignore", message="(Scales|Offsets) differ", category=UserWarning)
        # rioxarray multiplies by transforms in a way that affine will give up
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        opened: Any = rioxarray.open_rasterio(
            path,
            masked=False,
            mask_and_scale=False,
            decode_times=False,  # dates are not looked at here
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
    if opened.dims[0] == "time":  # of a netCDF file; its dates are no bands
        return opened
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
    nobody reads again, up to a twentieth of the machine's memory. A local file that has changed
    since it was opened is an error, since chunks that are read before and after do not belong
    together.
    """

    def __init__(
        self,
        path: str,
        shape: tuple[int, ...],
        layout: FileLayout,
        version: tuple[int, int] | None,
        known: tuple[int, int] | None,
    ) -> None:
        self._path = path
        self.file = _plain_file(path)
        self.known = known
        self._layout = layout
        self._version = version
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
        if _version(self._path) != self._version:
            raise OSError(
                f"{self._path!r} has changed since it was opened; wait until it is complete, open "
                "it again and begin again, with overwrite=True (--overwrite) where something was "
                "begun"
            )
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
    what = f"{what} {str(path)!r}"
    if file.count == 0 or file.subdatasets:
        raise ValueError(_several_rasters(file, what))
    if file.crs is None or file.transform.is_identity:
        _refuse_points(file, what, str(path))
    if file.crs is None:
        raise ValueError(missing_crs(what, str(path)))
    # GDAL keeps this tag of netCDF files where it has not converted the coordinates.
    require_crs_units(file.tags().get("x#units"), file.crs, what)
    north_up(file.transform, file.shape, what, str(path))
    require_real_dtype(file.dtypes, what)


def _several_rasters(file: DatasetReader, what: str) -> str:
    """Text of the error for files that hold several rasters, or none."""
    names = file.subdatasets
    if not names:
        return f"{what} holds no raster band"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{what} holds {len(names)} rasters, {', '.join(map(repr, names[:_SHOWN]))}{more}; give "
        "one of these names in place of the file's, or several as a list, whose bands become one "
        "scene"
    )


def _refuse_points(file: DatasetReader, what: str, path: str) -> None:
    """Raise ValueError where control points or a sensor model say where a raster lies."""
    if file.gcps[0]:
        has, option = f"{len(file.gcps[0])} ground control points", "-tps"
    elif file.rpcs:
        has, option = "rational polynomial coefficients (RPCs)", "-rpc"
    else:
        return
    raise ValueError(
        f"{what} has {has}, but no grid in a CRS; warp it onto one with "
        f"`gdalwarp {option} -t_srs EPSG:... {path} warped.tif`"
    )


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
    if is_remote(path) or file_of_subdataset(path):
        return
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return
    import tifffile

    size = Path(path).stat().st_size
    try:
        # it complains of ordinary nodata values, as -3.4028234663852886e+38 of float32
        with without_log("tifffile"), tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            ends = np.add(page.dataoffsets, page.databytecounts)
    except (tifffile.TiffFileError, IndexError, ValueError, AttributeError):
        return  # GDAL opened it, so reading will tell
    if ends.size and int(ends.max()) > size:
        raise OSError(
            f"{what} {str(path)!r} is truncated: {int((ends > size).sum())} of its {ends.size} "
            f"blocks lie beyond its {size} bytes; copy or download it again"
        )


def sources_of(scene: xr.DataArray) -> Sources:
    """Sizes, times and digests of the local files that a lazy scene reads, if not too large."""
    graph = getattr(scene.data, "dask", None)
    layers = getattr(graph, "layers", {}).items()
    found = [layer[name] for name, layer in layers if name.startswith(_LEAVES)]
    readers = {reader.file: reader for reader in found if reader.file is not None}
    if sum(reader.known[0] for reader in readers.values()) > _DIGESTED_BYTES:
        return {}
    digests = {file: content_of(file) for file in readers}
    return {
        key_of(file): (*readers[file].known, digest)
        for file, digest in digests.items()
        if digest is not None
    }


def _name_of_chunks(
    path: str, version: tuple[int, int] | None, sides: dict[str, int], layout: FileLayout
) -> str:
    """Name of an array in dask graphs; "raster" promises that the file holds the same numbers."""
    if not layout.changes_numbers:
        return f"raster-{tokenize(path, version, sides)}"
    sidecar = f"{path}.msk"
    mask = _version(sidecar) if not is_remote(path) and Path(sidecar).exists() else None
    return f"marked-{tokenize(path, version, sides, layout, mask)}"


def _plain_file(path: str | Path) -> Path | None:
    """The local file that a path names, if it names no part of one."""
    return None if file_of_subdataset(path) else local_file(path)


def _version(path: str | Path) -> tuple[int, int] | None:
    """Size and time of a local file, which name its chunks in dask graphs."""
    file = local_file(path)
    if file is None:
        return None
    status = file.stat()
    return status.st_size, status.st_mtime_ns
