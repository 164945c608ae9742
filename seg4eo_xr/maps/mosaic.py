"""One dask computation into many small GeoTIFFs, and a VRT that shows them as one raster.

A task writes a whole file of its own, so blocks of any size are written without locks, by threads,
processes or the workers of a cluster that share the folder, and GDAL reads the result as it is.
"""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import rasterio
from affine import Affine

from seg4eo_xr.maps.layers import JOB_ATTR, STATISTICS_ATTR, plain_attrs
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import grid_transform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

# GDAL keeps some hundred files of a mosaic open, each with a buffer of one tile.
_TILE = 256
_HIGHEST_CATEGORY = 255
CATEGORIES_SUFFIX = ".aux.xml"
"""What GDAL adds to the name of a GeoTIFF for the file with the names of its categories."""
STACK_TAG = "seg4eo_xr_layer"
"""Tag of a file whose bands are one layer: its name, and the dimension along which they lie."""
# Tags whose values are texts, for other programs to read as they are: never JSON within JSON.
_TEXTS = frozenset({"units", JOB_ATTR, STATISTICS_ATTR})
GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}


def compute_blocks(dataset: xr.Dataset, folders: Mapping[str, Path]) -> None:
    """Compute every layer in one pass and leave each block as a GeoTIFF in the layer's folder.

    Parameters
    ----------
    dataset
        Lazy layers ``(y, x)`` or ``(..., y, x)`` with one leading dimension.
    folders
        A folder for each layer to write.
    """
    written = []
    for name, folder in folders.items():
        values = dataset[name].data
        leading = range(values.ndim - 2)
        block = da.map_blocks(
            _write_block,
            values.rechunk(dict.fromkeys(leading, -1), method="tasks"),
            folder=str(folder),
            dtype=bool,
            drop_axis=list(leading),
            chunks=tuple((1,) * n for n in values.numblocks[-2:]),
            meta=np.empty((0, 0), bool),
        )
        written.append(block)
    run_to_the_end(written)


def _write_block(values: np.ndarray, folder: str, block_id: tuple[int, int]) -> np.ndarray:
    """Write one block; a task that runs twice replaces its file by an equal one."""
    path = Path(folder, block_name(*block_id))
    bands = values.reshape(-1, *values.shape[-2:])
    count, height, width = bands.shape
    compression = {"compress": "deflate", "zlevel": 1} if values.dtype.kind in "iu" else {}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=values.dtype,
        # The VRT places the file; a transform here only keeps rasterio from warning.
        transform=Affine.scale(2),
        tiled=True,
        blockxsize=_TILE,
        blockysize=_TILE,
        **compression,
    ) as file:
        file.write(bands)
    return np.ones((1, 1), bool)


def block_name(row: int, col: int) -> str:
    """Name of the file of one block."""
    return f"{row}.{col}.tif"


def write_vrt(
    layer: xr.DataArray, attrs: Mapping[str, Any], folder: Path, *, block: int = _TILE
) -> Path:
    """Write the VRT over a layer's blocks, with all that the final file is to carry.

    Parameters
    ----------
    layer
        The layer whose blocks lie in `folder`, with CRS, transform and ``_FillValue``; each step
        along a leading dimension is a band.
    attrs
        Attributes of the whole map; they become tags of the file.
    folder
        Where the blocks lie and the VRT goes.
    block
        Side of the tiles inside the files, in pixels.

    Returns
    -------
    Path
        The VRT.
    """
    height, width = layer.shape[-2:]
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    _text(root, "SRS", layer.rio.crs.to_wkt())
    _text(root, "GeoTransform", ", ".join(map(repr, grid_transform(layer, "the layer").to_gdal())))
    leading = layer.dims[:-2]
    _tags(root, {**attrs, **({STACK_TAG: [layer.name, *leading]} if leading else {})})
    for number, name in enumerate(_band_names(layer), start=1):
        _band(root, layer, (number, name), block)
    path = folder / "layer.vrt"
    ElementTree.ElementTree(root).write(path, encoding="utf-8")
    return path


def _band_names(layer: xr.DataArray) -> list[str]:
    if layer.ndim == 2:
        return [str(layer.name)]
    coordinate = layer[layer.dims[0]]
    return [str(name) for name in coordinate.values]


def _band(
    root: ElementTree.Element, layer: xr.DataArray, band_of: tuple[int, str], block: int
) -> None:
    number, name = band_of
    kind = GDAL_TYPES[layer.dtype.name]
    band = ElementTree.SubElement(
        root, "VRTRasterBand", dataType=kind, band=str(number), blockXSize="512", blockYSize="512"
    )
    _tags(band, plain_attrs(layer.attrs))
    _text(band, "Description", name)
    if "_FillValue" in layer.attrs:
        _text(band, "NoDataValue", str(layer.attrs["_FillValue"]))
    if "scale_factor" in layer.attrs:
        _text(band, "Scale", repr(float(layer.attrs["scale_factor"])))
    table = ClassTable.from_attrs(layer.attrs)
    # of a GeoTIFF with one band; others keep their colours in the tags alone
    if table is not None and layer.ndim == 2 and layer.dtype in (np.uint8, np.uint16):
        _color_table(band, table, layer.dtype)
    names = category_names(layer)
    if names:
        band.append(_categories(names))
    _sources(band, layer, number, block)


def category_names(layer: xr.DataArray) -> list[str]:
    """Names by code, as GDAL keeps them; none where a layer has no classes, or codes above 255."""
    table = ClassTable.from_attrs(layer.attrs)
    if table is None or layer.ndim > 2 or layer.dtype.kind not in "iu":
        return []
    if min(table.codes) < 0 or max(table.codes) > _HIGHEST_CATEGORY:
        return []
    names = dict(zip(table.codes, table.names, strict=True))
    return [names.get(code, "") for code in range(max(table.codes) + 1)]


def write_categories(names: Sequence[str], path: Path) -> Path:
    """Write names of categories next to a GeoTIFF, which has no place for them, as GDAL does.

    Parameters
    ----------
    names
        By code.
    path
        The GeoTIFF.

    Returns
    -------
    Path
        The sidecar.
    """
    root = ElementTree.Element("PAMDataset")
    ElementTree.SubElement(root, "PAMRasterBand", band="1").append(_categories(names))
    ElementTree.indent(root)
    sidecar = path.with_name(path.name + CATEGORIES_SUFFIX)
    ElementTree.ElementTree(root).write(sidecar, encoding="utf-8")
    return sidecar


def _categories(names: Sequence[str]) -> ElementTree.Element:
    element = ElementTree.Element("CategoryNames")
    for name in names:
        _text(element, "Category", name)
    return element


def _sources(band: ElementTree.Element, layer: xr.DataArray, number: int, block: int) -> None:
    rows, cols = layer.data.chunks[-2:]
    kind = GDAL_TYPES[layer.dtype.name]
    for row, (top, height) in enumerate(zip(accumulate(rows, initial=0), rows, strict=False)):
        for col, (left, width) in enumerate(zip(accumulate(cols, initial=0), cols, strict=False)):
            source = ElementTree.SubElement(band, "SimpleSource")
            _text(source, "SourceFilename", block_name(row, col), relativeToVRT="1")
            _text(source, "SourceBand", str(number))
            # With the properties at hand GDAL opens a source only when it reads from it.
            ElementTree.SubElement(
                source,
                "SourceProperties",
                RasterXSize=str(width),
                RasterYSize=str(height),
                DataType=kind,
                BlockXSize=str(block),
                BlockYSize=str(block),
            )
            _rectangle(source, "SrcRect", (0, 0), (height, width))
            _rectangle(source, "DstRect", (top, left), (height, width))


def _rectangle(
    source: ElementTree.Element, tag: str, start: tuple[int, int], shape: tuple[int, int]
) -> None:
    ElementTree.SubElement(
        source,
        tag,
        yOff=str(start[0]),
        xOff=str(start[1]),
        ySize=str(shape[0]),
        xSize=str(shape[1]),
    )


def _color_table(
    band: ElementTree.Element, table: ClassTable, dtype: np.dtype[np.integer[Any]]
) -> None:
    """Colours by code; of 16 bits only up to the highest, as each one takes a line."""
    length = 256 if dtype == np.uint8 else table.codes[-1] + 1
    colors = np.zeros((length, 3), np.uint8)
    inside = [0 <= code < length for code in table.codes]
    colors[np.array(table.codes)[inside]] = table.rgb()[inside]
    _text(band, "ColorInterp", "Palette")
    entries = ElementTree.SubElement(band, "ColorTable")
    for red, green, blue in colors:
        ElementTree.SubElement(entries, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4="255")


def _tags(parent: ElementTree.Element, attrs: Mapping[str, Any]) -> None:
    tags = ElementTree.SubElement(parent, "Metadata")
    for key, value in attrs.items():
        _text(tags, "MDI", encode_tag(key, value), key=key)


def _text(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text


def encode_tag(key: str, value: Any) -> str:
    """Write an attribute as the text of a TIFF tag, so that `decode_tag` gives it back.

    Examples
    --------
    >>> encode_tag("title", "forest"), encode_tag("title", "7"), encode_tag("title", [1, 2])
    ('forest', '"7"', '[1, 2]')
    >>> encode_tag("units", "1")
    '1'
    """
    if isinstance(value, str) and decode_tag(key, value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def decode_tag(key: str, text: str) -> Any:
    """Read an attribute from the text of a TIFF tag.

    Examples
    --------
    >>> decode_tag("title", "forest"), decode_tag("title", '"7"'), decode_tag("title", "[1, 2]")
    ('forest', '7', [1, 2])
    >>> decode_tag("units", "1")
    '1'
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) or key not in _TEXTS else text
