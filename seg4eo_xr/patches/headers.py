"""What GeoTIFF patches say about themselves, and whether they go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from seg4eo_xr.scenes.class_files import stated_classes
from seg4eo_xr.scenes.file_layout import layout_of, read_window
from seg4eo_xr.scenes.grid import corners_agree, missing_crs, north_up, same_crs
from seg4eo_xr.scenes.label_pictures import ADVICE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from seg4eo_xr.patches.importing import PatchPair
    from seg4eo_xr.scenes.file_layout import ReadRules


@dataclass(frozen=True)
class Header:
    """What a GeoTIFF says before its pixels are read.

    Parameters
    ----------
    shape
        Bands, height and width.
    dtype
        NumPy name.
    nodata
        Number that marks missing pixels, also those that a mask hides; None where there is none.
    bands
        Descriptions of the bands.
    crs
        As WKT; empty where there is none.
    transform
        Six numbers, as `affine.Affine` takes them.
    version
        Size and time of the file.
    classes
        Attributes that state classes, of a label; see `seg4eo_xr.scenes.classes.ClassTable`.
    """

    shape: tuple[int, int, int]
    dtype: str
    nodata: float | None
    bands: tuple[str | None, ...]
    crs: str
    transform: tuple[float, ...]
    version: tuple[int, int]
    classes: tuple[tuple[str, str], ...] = ()


def read_header(path: Path, rules: ReadRules, *, classes: bool = False) -> Header:
    """Read what a GeoTIFF says about itself, by the rules by which its pixels will be read.

    What a label says of its classes is read on request.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    try:
        with rasterio.open(path) as raster:
            status, layout = path.stat(), layout_of(raster, f"patch {path}", rules)
            return Header(
                (layout.count, raster.height, raster.width),
                str(layout.dtype),
                layout.missing.mark,
                tuple(raster.descriptions[band - 1] for band in layout.bands),
                raster.crs.to_wkt() if raster.crs else "",
                tuple(raster.transform)[:6],
                (status.st_size, status.st_mtime_ns),
                stated_classes(path, raster) if classes else (),
            )
    except RasterioError as error:
        raise OSError(f"cannot open patch {path}: {error}; copy or make it again") from error


def read_pixels(path: Path, rules: ReadRules) -> tuple[np.ndarray, float | None]:
    """Read stored numbers ``(band, y, x)``, and the number that marks missing pixels.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    try:
        with rasterio.open(path) as raster:
            layout = layout_of(raster, f"patch {path}", rules)
            window = ((0, raster.height), (0, raster.width))
            return read_window(raster, layout, range(layout.count), window), layout.missing.mark
    except RasterioError as error:
        raise OSError(
            f"cannot read patch {path}: {error}; it may be truncated, copy or make it again"
        ) from error


def require_alike(
    pairs: Sequence[PatchPair], headers: Sequence[tuple[Header, Header]], *, colors: bool = False
) -> None:
    """Raise ValueError unless images agree, and each label fits its image.

    Labels may be pictures where a class table says what their colours mean.
    """
    first_image = headers[0][0]
    _, height, width = first_image.shape
    if height != width:
        raise ValueError(
            f"patch {pairs[0].image} has {height} × {width} pixels; patches of a store are square"
        )
    marked: tuple[Path, Header] | None = None  # the first image that states a nodata value
    for pair, (image, label) in zip(pairs, headers, strict=True):
        if not image.crs:
            raise ValueError(missing_crs(f"patch {pair.image}", str(pair.image)))
        shape = image.shape[1:]
        north_up(Affine(*image.transform), shape, f"patch {pair.image}", str(pair.image))
        for what in ("shape", "dtype", "bands"):
            _require_equal(pairs[0].image, first_image, pair.image, image, what)
        if image.nodata is not None:
            marked = marked or (pair.image, image)
            _require_equal(*marked, pair.image, image, "nodata")
        picture = label.shape == (3, height, width)
        if picture and not colors:
            raise ValueError(
                f"label {pair.label} has 3 bands, but labels are one band of class codes; {ADVICE}"
            )
        if not picture and label.shape != (1, height, width):
            raise ValueError(
                f"label {pair.label} has (bands, height, width) {label.shape}, but its image "
                f"{pair.image.name} asks for {(1, height, width)}"
            )
        # Labels of some tools have no place of their own.
        if label.crs and not _lie_alike(image, label):
            raise ValueError(
                f"label {pair.label} does not lie where its image {pair.image.name} does; are they "
                "of one patch?"
            )


def _lie_alike(one: Header, other: Header) -> bool:
    """Whether two files of one shape lie on one grid, up to a hundredth of a pixel."""
    if (one.crs, one.transform) == (other.crs, other.transform):
        return True
    transforms = Affine(*one.transform), Affine(*other.transform)
    systems = (CRS.from_wkt(header.crs) for header in (one, other))
    return same_crs(*systems) and corners_agree(*transforms, one.shape[1:])


def _require_equal(one: Path, first: Header, other: Path, header: Header, what: str) -> None:
    values = getattr(first, what), getattr(header, what)
    # NaN as nodata equals itself here.
    if values[0] != values[1] and not all(value != value for value in values):
        raise ValueError(
            f"patches of one store agree in {what}: {one} has {values[0]}, {other} has {values[1]}"
        )
