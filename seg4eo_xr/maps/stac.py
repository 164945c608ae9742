"""STAC documents of maps: an item a tile, the model that made them, and the collection of all.

Plain dictionaries, so that writing them needs no further package.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.warp import transform, transform_bounds, transform_geom
from shapely import union_all
from shapely.affinity import translate
from shapely.geometry import Polygon, box, mapping, shape

from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import grid_transform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from shapely.geometry.base import BaseGeometry

    from seg4eo_xr.models.checkpoint import Checkpoint

_VERSION = "1.1.0"
_EXTENSIONS = "https://stac-extensions.github.io"
_PROJECTION = f"{_EXTENSIONS}/projection/v2.0.0/schema.json"
_CLASSIFICATION = f"{_EXTENSIONS}/classification/v2.0.0/schema.json"
_RASTER = f"{_EXTENSIONS}/raster/v2.0.0/schema.json"
_MLM = f"{_EXTENSIONS}/mlm/v1.4.0/schema.json"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# Points along a side of a footprint: straight lines of a projection bend on the globe.
_POINTS = 21


def map_item(name: str, tile: xr.Dataset, files: Mapping[str, str], date: str) -> dict[str, Any]:
    """Describe one tile of a map.

    Parameters
    ----------
    name
        Identifier of the item.
    tile
        Layers ``(..., y, x)`` with CRS and transform.
    files
        Where each layer lies, by its name, relative to the item.
    date
        What moment the map shows, as RFC 3339 writes it.

    Returns
    -------
    dict
        An item of STAC 1.1.
    """
    first = next(iter(tile.data_vars.values()))
    epsg = tile.rio.crs.to_epsg()
    projection = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": tile.rio.crs.to_wkt()}
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": [_PROJECTION, _CLASSIFICATION, _RASTER],
        "id": name,
        "geometry": _footprint(tile),
        "bbox": _bounds(tile),
        "properties": {
            "datetime": date,
            **projection,
            "proj:shape": [int(tile.sizes["y"]), int(tile.sizes["x"])],
            "proj:transform": list(grid_transform(first, "the map"))[:6],
        },
        "links": [],
        "assets": {
            layer: {"href": href, "type": _COG, "roles": ["data"], **_described(tile[layer])}
            for layer, href in files.items()
        },
    }


def _described(layer: xr.DataArray) -> dict[str, Any]:
    """What an asset says of a layer: its numbers, and its classes or bands."""
    nodata, scale = nodata_of(layer), layer.attrs.get("scale_factor")
    described: dict[str, Any] = {
        "title": str(layer.attrs.get("long_name", layer.name)),
        # half floats become whole ones in a file
        "data_type": str(np.dtype(np.float32) if layer.dtype == np.float16 else layer.dtype),
    }
    if nodata is not None:
        described["nodata"] = "nan" if np.isnan(nodata) else nodata
    if scale is not None:
        described["raster:scale"] = float(scale)
    table = ClassTable.from_attrs(layer.attrs)
    if table is not None:
        described["classification:classes"] = _classes(table)
    if layer.ndim > 2:
        described["bands"] = [{"name": str(name)} for name in layer[layer.dims[0]].values]
    return described


def _classes(table: ClassTable) -> list[dict[str, Any]]:
    """Classes as the extension names them: machine names of letters, digits, - and _."""
    return [
        {
            "value": code,
            "name": re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") or f"class_{code}",
            "title": name,
            "description": name,
            "color_hint": color.removeprefix("#").upper(),
        }
        for code, name, color in zip(table.codes, table.names, table.colors, strict=True)
    ]


def _bounds(tile: xr.Dataset) -> list[float]:
    """Box in degrees; west is greater than east where it crosses the antimeridian (RFC 7946)."""
    bounds = transform_bounds(tile.rio.crs, "EPSG:4326", *tile.rio.bounds(), densify_pts=_POINTS)
    return _common_bounds([[float(bound) for bound in bounds]])


def _common_bounds(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Box around boxes that lie together, on either side of the antimeridian."""
    first = boxes[0][0]
    begins, ends = [], []
    for west, _, east, _ in boxes:
        # Degrees east of the first box's western side.
        begin = (west - first + 180) % 360 - 180
        begins.append(begin)
        ends.append(begin + (east - west if east >= west else east - west + 360))
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if max(ends) - min(begins) >= 360:
        return [-180.0, south, 180.0, north]
    west, east = first + min(begins), first + max(ends)
    # Sides on the antimeridian stay on their own side of the box; turning leaves rounding errors.
    return [round((west + 180) % 360 - 180, 9), south, round(180 - (180 - east) % 360, 9), north]


def _footprint(tile: xr.Dataset) -> dict[str, Any]:
    west, south, east, north = tile.rio.bounds()
    steps = np.linspace(0, 1, _POINTS)
    right, up = west + (east - west) * steps, south + (north - south) * steps
    ring = [
        *((x, south) for x in right),
        *((east, y) for y in up[1:]),
        *((x, north) for x in right[-2::-1]),
        *((west, y) for y in up[-2::-1]),
    ]
    polygon = {"type": "Polygon", "coordinates": [[tuple(map(float, point)) for point in ring]]}
    longitudes, latitudes = transform(tile.rio.crs, "EPSG:4326", *zip(*ring, strict=True))
    turned = np.unwrap(longitudes, period=360)
    around_a_pole = abs(turned[-1] - turned[0]) > 180
    if not around_a_pole and np.ptp(turned - longitudes) > 180:
        # GDAL does not cut every projection at the antimeridian: not Web Mercator.
        return _geometry(_cut(Polygon(zip(turned, latitudes, strict=True))))
    # GDAL cuts what it projects around a pole, but not what is in degrees already.
    return _geometry(_cut(shape(transform_geom(tile.rio.crs, "EPSG:4326", polygon))))


def _cut(footprint: BaseGeometry) -> BaseGeometry:
    """Bring what lies beyond 180° east or west back onto the globe."""
    if footprint.bounds[0] >= -180 and footprint.bounds[2] <= 180:
        return footprint
    globe = box(-180, -90, 180, 90)
    return union_all([translate(footprint, turn).intersection(globe) for turn in (-360, 0, 360)])


def _geometry(ground: BaseGeometry) -> dict[str, Any]:
    """GeoJSON as it comes back from a file, in lists."""
    written = mapping(ground)
    return {"type": written["type"], "coordinates": _lists(written["coordinates"])}


def _lists(nested: Any) -> Any:
    return [_lists(part) for part in nested] if isinstance(nested, list | tuple) else nested


def model_item(
    checkpoint: Checkpoint, href: str, tiles: Sequence[Mapping[str, Any]], date: str
) -> dict[str, Any]:
    """Describe a model by the MLM extension: what it takes, what it gives, and how to load it.

    Parameters
    ----------
    checkpoint
        The model.
    href
        Where its file lies.
    tiles
        Items of the map's tiles: where the model was used.
    date
        A moment, as RFC 3339 writes it.

    Returns
    -------
    dict
        An item of STAC 1.1.
    """
    spec, contract, side = checkpoint.spec, checkpoint.contract, checkpoint.patch_size
    bands, classes = list(contract.bands), contract.classes
    tasks = ["semantic-segmentation"]
    parameters = sum(weights.numel() for weights in checkpoint.state_dict.values())
    name = re.sub(r"[^0-9A-Za-z_.-]+", "-", f"{spec.model}-{spec.encoder_name}").strip("-._")
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": [_MLM, _CLASSIFICATION],
        "id": "model",
        "geometry": _geometry(union_all([shape(tile["geometry"]) for tile in tiles])),
        "bbox": _common_bounds([tile["bbox"] for tile in tiles]),
        "properties": {
            "datetime": date,
            "mlm:name": name,
            "mlm:architecture": spec.model,
            "mlm:tasks": tasks,
            "mlm:framework": "PyTorch",
            "mlm:total_parameters": parameters,
            "mlm:accelerator_constrained": False,
            "mlm:input": [
                {
                    "name": "patches",
                    "bands": bands,
                    "input": _structure([-1, len(bands), side, side], "channel"),
                    "resize_type": None,
                    "value_scaling": _value_scaling(checkpoint),
                }
            ],
            "mlm:output": [
                {
                    "name": "logits",
                    "tasks": tasks,
                    "result": _structure([-1, spec.out_channels, side, side], "class"),
                    "classification:classes": _classes(classes),
                }
            ],
            "mlm:hyperparameters": {"encoder_name": spec.encoder_name, "mode": checkpoint.mode},
        },
        "links": [],
        "assets": {
            "model": {
                "href": href,
                "type": "application/octet-stream; application=pytorch",
                "title": f"{spec.model} / {spec.encoder_name}",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "torch.save",
            }
        },
    }


def _structure(shape: Sequence[int], second: str) -> dict[str, Any]:
    return {
        "shape": list(shape),
        "dim_order": ["batch", second, "height", "width"],
        "data_type": "float32",
    }


def _value_scaling(checkpoint: Checkpoint) -> list[dict[str, Any]] | None:
    """Scaling of each band as the extension writes it, from physical values."""
    rule = checkpoint.contract.normalization
    spans = list(zip(rule.lower, rule.upper, strict=True))
    if rule.kind == "percentile":
        return [{"type": "min-max", "minimum": low, "maximum": high} for low, high in spans]
    if rule.kind == "standard":
        return [{"type": "z-score", "mean": low, "stddev": high - low} for low, high in spans]
    return None


def region_collection(
    name: str, items: Sequence[Mapping[str, Any]], hrefs: Sequence[str], description: str
) -> dict[str, Any]:
    """Describe all tiles of a map together.

    Parameters
    ----------
    name
        Identifier of the collection.
    items
        Items of the tiles, and of the model.
    hrefs
        Where each of them lies, relative to the collection.
    description
        What the map shows.

    Returns
    -------
    dict
        A collection of STAC 1.1.
    """
    bounds = _common_bounds([item["bbox"] for item in items])
    dates = sorted(item["properties"]["datetime"] for item in items)
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "stac_extensions": [],
        "id": name,
        "description": description,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [bounds]},
            "temporal": {"interval": [[dates[0], dates[-1]]]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *({"rel": "item", "href": href, "type": "application/geo+json"} for href in hrefs),
        ],
    }
