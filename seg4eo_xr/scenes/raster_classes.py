"""Names and colours of classes that a raster file holds beside its numbers."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from seg4eo_xr.scenes.classes import class_name
from seg4eo_xr.scenes.rasters import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    # Code, name and colour; the last two may be missing.
    Row = tuple[int, str | None, str | None]

CODE_COLUMNS = (
    *("code", "value", "class_id", "class_code", "class_value"),
    *("gridcode", "id", "number"),
)
NAME_COLUMNS = ("name", "label", "class_name", "class", "description", "title")


def parsed_xml(text: str, what: str) -> ElementTree.Element:
    """Parse XML; entities, with which a small file grows without end, are refused."""
    if re.search(r"<!ENTITY|<!DOCTYPE[^>]*\[", text, re.IGNORECASE):
        raise ValueError(f"{what} declares XML entities, which no style needs; it is not read")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{what} is no valid XML: {error}") from error


def raster_rows(path: str | PathLike[str], what: str) -> list[Row]:
    """Codes, names and colours that a raster holds, read by GDAL into the XML of a VRT.

    Parameters
    ----------
    path
        Path or URL.
    what
        What error messages call the file.

    Raises
    ------
    OSError
        If it is no raster.
    """
    import rasterio.shutil
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # classes lie nowhere
        vrt = Path(folder, "raster.vrt")
        try:
            with rasterio.open(path) as raster:
                rasterio.shutil.copy(raster, str(vrt), driver="VRT")
        except RasterioError as error:
            raise OSError(f"cannot read {what}: {error}") from error
        band = parsed_xml(vrt.read_text(encoding="utf-8"), what).find("./VRTRasterBand")
    if band is None:
        return []
    colors = {
        code: "#{:02x}{:02x}{:02x}".format(*(int(entry.get(c, "0")) for c in ("c1", "c2", "c3")))
        for code, entry in enumerate(band.findall("./ColorTable/Entry"))
    }
    table = band.find("./GDALRasterAttributeTable")
    names, own_colors = _attribute_table(_sidecar_table(path, what) if table is None else table)
    colors |= own_colors
    if not names:
        listed = enumerate(band.findall("./CategoryNames/Category"))
        names = {code: class_name(node.text or "") for code, node in listed}
    nodata = band.findtext("./NoDataValue")
    return [
        (code, names.get(code) or None, colors.get(code))
        for code in sorted(names or colors)
        if (names.get(code) if names else colors[code] != "#000000") and str(code) != nodata
    ]


def _sidecar_table(path: str | PathLike[str], what: str) -> ElementTree.Element | None:
    """Attribute table that GDAL keeps in a file beside the raster."""
    sidecar = Path(f"{path}.aux.xml")
    if is_remote(str(path)) or not sidecar.is_file():
        return None
    return parsed_xml(sidecar.read_text(encoding="utf-8"), what).find(".//GDALRasterAttributeTable")


# What GDAL's numbers for the use of a column mean.
_NAME_USE, _VALUE_USES, _LAST_USE = "2", ("5", "3"), "4"
_COLOR_USES = {"6": "red", "7": "green", "8": "blue"}


def _attribute_table(
    table: ElementTree.Element | None,
) -> tuple[dict[int, str], dict[int, str]]:
    """Names and colours by code of GDAL's raster attribute table."""
    if table is None:
        return {}, {}
    columns = [
        (field.findtext("Usage", ""), field.findtext("Name", "").strip().lower())
        for field in table.findall("FieldDefn")
    ]

    def position(uses: Sequence[str], names: Sequence[str]) -> int | None:
        ranked = [i for use in uses for i, column in enumerate(columns) if column[0] == use]
        ranked += [i for name in names for i, column in enumerate(columns) if column[1] == name]
        return ranked[0] if ranked else None

    value, name = position(_VALUE_USES, CODE_COLUMNS), position([_NAME_USE], NAME_COLUMNS)
    if value is None or name is None:
        return {}, {}
    rows = [[cell.text or "" for cell in row.findall("F")] for row in table.findall("Row")]
    last = position([_LAST_USE], [])
    if last is not None and any(float(row[value]) != float(row[last]) for row in rows):
        return {}, {}  # names of ranges, not of codes
    codes = [int(float(row[value])) for row in rows]
    names = {code: class_name(row[name]) for code, row in zip(codes, rows, strict=True)}
    channels = [position([use], [channel]) for use, channel in _COLOR_USES.items()]
    return names, _colors_of(codes, rows, [place for place in channels if place is not None])


def _colors_of(
    codes: Sequence[int], rows: Sequence[Sequence[str]], channels: Sequence[int]
) -> dict[int, str]:
    """Colours by code, where a table has columns of all three channels, of 0..255."""
    if len(channels) < 3 or not rows:
        return {}
    try:
        numbers = [[round(float(row[channel])) for channel in channels] for row in rows]
    except ValueError:
        return {}
    if min(map(min, numbers)) < 0 or max(map(max, numbers)) > 255:
        return {}
    texts = ["#{:02x}{:02x}{:02x}".format(*row) for row in numbers]
    return dict(zip(codes, texts, strict=True))
