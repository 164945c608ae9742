"""STAC items from wherever they are, and what their assets say of the stored numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg4eo_xr.scenes.rasters import require_local_path

if TYPE_CHECKING:
    import pystac

ItemSource = Any  # an item, a mapping, a path or URL, a collection, or an iterable of those

_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")
_NAMES = ("name", "common_name", "eo:common_name")
_STORED = ("data_type", "nodata", "scale", "offset")


def read_items(source: ItemSource) -> list[pystac.Item]:
    """Gather STAC items.

    Parameters
    ----------
    source
        A `pystac.Item`, collection, catalogue or item collection; a STAC document as a mapping; the
        path or URL of one (item, FeatureCollection, collection or catalogue); or several of these.

    Raises
    ------
    FileNotFoundError
        If a local document does not exist.
    ValueError
        If a document is no STAC document, or there is no item at all.
    TypeError
        If `source` is none of these.
    """
    items = _items(source)
    if not items:
        raise ValueError("there is no STAC item: the list, collection or search result is empty")
    return items


def _items(source: ItemSource) -> list[pystac.Item]:
    import pystac

    if isinstance(source, pystac.Item):
        return [source]
    if isinstance(source, pystac.Catalog):
        return list(source.get_items(recursive=True))
    if isinstance(source, (str, Path)):
        return _items_of_document(_document(source), str(source))
    if isinstance(source, Mapping):
        return _items_of_document(dict(source), None)
    if isinstance(source, Iterable):
        return [item for one in source for item in _items(one)]
    raise TypeError(
        "items must be pystac items, mappings, the path of a STAC document or several of these, "
        f"got {type(source).__name__}"
    )


def _document(path: str | Path) -> dict[str, Any]:
    import pystac

    require_local_path(path, "STAC document")
    try:
        read = json.loads(pystac.StacIO.default().read_text(str(path)))
    except (ValueError, OSError) as error:
        raise ValueError(f"{str(path)!r} is no STAC document: {error}") from error
    if not isinstance(read, dict):
        raise ValueError(f"{str(path)!r} is no STAC document: it holds a {type(read).__name__}")
    return read


def _items_of_document(document: dict[str, Any], href: str | None) -> list[pystac.Item]:
    import pystac

    kind, what = document.get("type"), repr(href) if href else "the mapping"
    try:
        if kind == "FeatureCollection":
            return [item for one in document["features"] for item in _items_of_document(one, href)]
        if kind in ("Collection", "Catalog"):
            form = pystac.Collection if kind == "Collection" else pystac.Catalog
            return list(form.from_dict(document, href=href).get_items(recursive=True))
        if kind == "Feature":
            item = pystac.Item.from_dict(document, href=href)
            if href:
                item.make_asset_hrefs_absolute()
            return [item]
    except (KeyError, TypeError, ValueError, pystac.STACError, pystac.STACTypeError) as error:
        raise ValueError(f"{what} is no valid STAC document: {error!r}") from error
    raise ValueError(
        f"{what} is no STAC document: its type is {kind!r}, not Feature, FeatureCollection, "
        "Collection or Catalog"
    )


def stored_numbers(asset: Mapping[str, Any], band: int = 1) -> dict[str, Any]:
    """What an asset says of its stored numbers: ``data_type``, ``nodata``, ``scale``, ``offset``.

    Parameters
    ----------
    asset
        An asset as STAC writes it, by the raster extension of STAC 1.0 or by the fields of 1.1.
    band
        Number of the band within the asset, from 1.

    Returns
    -------
    dict
        Those that are given.

    Examples
    --------
    >>> stored_numbers({"raster:bands": [{"data_type": "uint16", "offset": -0.1}]})
    {'data_type': 'uint16', 'offset': -0.1}
    >>> stored_numbers({"data_type": "uint8", "raster:scale": 0.5, "bands": [{"nodata": 0}]})
    {'data_type': 'uint8', 'nodata': 0, 'scale': 0.5}
    """
    layers: list[Mapping[str, Any]] = [asset]
    for key in ("bands", "raster:bands"):
        described = asset.get(key) or []
        if len(described) >= band:
            layers.append(described[band - 1])
    found: dict[str, Any] = {}
    for layer in layers:
        for name in _STORED:
            value = layer.get(name, layer.get(f"raster:{name}"))
            if value is not None:
                found[name] = value
    return {name: found[name] for name in _STORED if name in found}


def asset_names(key: str, asset: Mapping[str, Any]) -> set[str]:
    """Names by which an asset and its bands are asked for.

    Examples
    --------
    >>> sorted(asset_names("B04", {"eo:bands": [{"name": "B04", "common_name": "red"}]}))
    ['B04', 'red']
    """
    bands = [*(asset.get("eo:bands") or ()), *(asset.get("bands") or ())]
    names = (band.get(name) for band in bands for name in _NAMES)
    return {key, *(name for name in names if name)}


def is_raster(asset: Mapping[str, Any]) -> bool:
    """Tell whether an asset seems to be a georeferenced raster, by its media type or its name.

    Examples
    --------
    >>> is_raster({"href": "B04.tif?signature=x"}), is_raster({"href": "thumbnail.png"})
    (True, False)
    """
    media = str(asset.get("type", "")).lower()
    path = str(asset.get("href", "")).partition("?")[0].lower()
    return "tiff" in media or "jp2" in media or path.endswith(_SUFFIXES)
