"""A large map as many files: COGs of some thousand pixels a side, VRTs over them, STAC items."""

from __future__ import annotations

import datetime
import json
import os
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr

from seg4eo_xr.maps.cog import in_types_of_gdal, write_cog
from seg4eo_xr.maps.layers import checked_map, without_job
from seg4eo_xr.maps.mosaic import block_name, write_vrt
from seg4eo_xr.maps.stac import map_item, model_item, region_collection
from seg4eo_xr.maps.store import open_map
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

_COG_BLOCK = 512  # pixels
_COLLECTION = "collection.json"


def write_region(
    prediction: xr.Dataset | str | PathLike[str],
    folder: str | PathLike[str],
    *,
    tile_size: int = 16384,
    model: str | PathLike[str] | None = None,
    date: str | datetime.date | None = None,
    overwrite: bool = False,
) -> Path:
    """Publish a map as a folder of COGs with a VRT a layer and STAC documents.

    The folder holds ``LAYER/ROW.COLUMN.tif``, ``LAYER/layer.vrt``, ``items/ROW.COLUMN.json`` and
    ``collection.json``; with a model also ``items/model.json``, which describes it by the MLM
    extension and from which the other items are derived. All paths in it are relative. It appears
    under its name when it is complete.

    Parameters
    ----------
    prediction
        A finished map, or the path of one. (A lazy prediction would run windows on the borders of
        tiles once for each of them: write it as Zarr first.)
    folder
        Where everything goes.
    tile_size
        Side of a file in pixels; those at the right and bottom are smaller.
    model
        Path of the checkpoint that made the map.
    date
        What moment the map shows, as ``2021-06-13``; now if not given.
    overwrite
        Whether an existing folder may be replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If `folder` exists and `overwrite` is False, or it is no published map.
    FileNotFoundError, OSError
        If something cannot be read or written.
    ValueError
        If the map is none, `tile_size` is below 512 or `date` is no date.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), seed=2)
    >>> with TemporaryDirectory() as folder:
    ...     written = write_region(labels.to_dataset(name="classes"), f"{folder}/published")
    ...     [path.name for path in written.glob("*.json")]
    ['collection.json']
    """
    from seg4eo_xr.models.checkpoint import load_checkpoint

    folder, moment = Path(folder), _moment(date)
    if tile_size < _COG_BLOCK:
        raise ValueError(f"tile_size must be at least {_COG_BLOCK} pixels, got {tile_size}")
    dataset = prediction if isinstance(prediction, xr.Dataset) else open_map(prediction)
    dataset = without_job(checked_map(in_types_of_gdal(dataset)))
    # Before all the writing, since its path may be wrong.
    checkpoint = None if model is None else load_checkpoint(Path(model))
    _require_published(folder)
    with staging(folder, overwrite=overwrite) as work:
        region = work / "region"
        (region / "items").mkdir(parents=True)
        items = _write_tiles(dataset, region, tile_size, moment)
        if model is not None and checkpoint is not None:
            # Relative, so that a region and its model may move together.
            href = os.path.relpath(Path(model).absolute(), folder.absolute() / "items")
            tiles = list(items.values())
            items["model"] = model_item(checkpoint, Path(href).as_posix(), tiles, moment)
        for name in dataset.data_vars:
            _write_layer_vrt(dataset[name], dataset.attrs, region / str(name), tile_size)
        _write_documents(items, region, folder.name, str(dataset.attrs.get("title", "a map")))
        commit(region, folder)
    return folder


def _require_published(folder: Path) -> None:
    """Raise FileExistsError where something else stands than a published map."""
    if folder.exists() and not (folder / _COLLECTION).exists():
        raise FileExistsError(f"{folder} exists and is no published map; choose another name")


def _moment(date: str | datetime.date | None) -> str:
    """Write a date as RFC 3339 does, in UTC."""
    if date is None:
        moment = datetime.datetime.now(datetime.UTC)
    else:
        try:
            moment = datetime.datetime.fromisoformat(str(date))
        except ValueError as error:
            raise ValueError(
                f"date must be written as 2021-06-13 or 2021-06-13T10:20:30Z, got {date!r}"
            ) from error
    moment = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _tiles(dataset: xr.Dataset, size: int) -> Iterator[tuple[str, xr.Dataset]]:
    rows, cols = _tile_chunks(dataset.sizes["y"], size), _tile_chunks(dataset.sizes["x"], size)
    for row, (top, bottom) in enumerate(pairwise(accumulate(rows, initial=0))):
        for col, (left, right) in enumerate(pairwise(accumulate(cols, initial=0))):
            tile = dataset.isel(y=slice(top, bottom), x=slice(left, right))
            yield Path(block_name(row, col)).stem, checked_map(tile)


def _tile_chunks(length: int, size: int) -> tuple[int, ...]:
    chunks: tuple[int, ...] = da.core.normalize_chunks((size,), (length,))[0]
    return chunks


def _write_tiles(
    dataset: xr.Dataset, region: Path, tile_size: int, moment: str
) -> dict[str, dict[str, Any]]:
    """Write the COGs, tile by tile so that memory stays bounded; return their items."""
    names = [str(name) for name in dataset.data_vars]
    for name in names:
        (region / name).mkdir()
    items = {}
    for place, tile in _tiles(dataset, tile_size):
        files = {name: f"{name}/{place}.tif" for name in names}
        main = "classes" if "classes" in names else names[0]
        others: dict[str, Any] = {name: region / files[name] for name in names if name != main}
        ordered = tile[[main, *others]]
        write_cog(ordered, region / files[main], **others)
        links = {name: f"../{file}" for name, file in files.items()}
        items[place] = map_item(place, tile, links, moment)
    return items


def _write_layer_vrt(
    layer: xr.DataArray, attrs: Mapping[str, Any], folder: Path, tile_size: int
) -> None:
    """Write a VRT over the tiles of a layer; of the pixels only their places matter."""
    chunks = [_tile_chunks(layer.sizes[dim], tile_size) for dim in ("y", "x")]
    leading = layer.shape[:-2]
    cut = da.empty(layer.shape, dtype=layer.dtype, chunks=(*leading, *chunks))
    write_vrt(layer.copy(data=cut), attrs, folder, block=_COG_BLOCK)


def _write_documents(
    items: Mapping[str, dict[str, Any]], region: Path, name: str, description: str
) -> None:
    for place, item in items.items():
        parent = {"href": f"../{_COLLECTION}", "type": "application/json"}
        item["collection"] = name
        item["links"] = [{"rel": rel, **parent} for rel in ("root", "parent", "collection")]
        if "model" in items and place != "model":
            made_by = {"rel": "derived_from", "href": "./model.json"}
            item["links"].append({**made_by, "type": "application/geo+json"})
        _write_json(item, region / "items" / f"{place}.json")
    hrefs = [f"./items/{place}.json" for place in items]
    collection = region_collection(name, list(items.values()), hrefs, description)
    _write_json(collection, region / _COLLECTION)


def _write_json(document: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
