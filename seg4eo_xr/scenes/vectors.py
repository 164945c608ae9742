"""Vector features burned onto the grid of a scene, chunk by chunk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from affine import Affine
from dask.base import tokenize
from dask.delayed import delayed

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import crs_text, grid_transform, place
from seg4eo_xr.scenes.rasters import chunk_sides, require_local_path

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

VECTOR_SUFFIXES = (
    *(".fgb", ".gdb", ".geojson", ".geoparquet", ".gml", ".gpkg"),
    *(".json", ".kml", ".parquet", ".shp", ".sqlite", ".zip"),
)


@dataclass(frozen=True)
class _Coding:
    """Which code each feature burns, and which stands where there is none."""

    codes: np.ndarray
    background: int
    classes: ClassTable


def read_vector(source: str | Path, *, layer: str | None = None) -> gpd.GeoDataFrame:
    """Read any vector file that GDAL knows, or GeoParquet.

    Raises
    ------
    FileNotFoundError, OSError
        If the file is missing or unreadable, or has no such layer.
    """
    import geopandas as gpd
    import pyogrio.errors

    require_local_path(source, "vector file")
    try:
        if Path(source).suffix.lower() in (".parquet", ".geoparquet"):
            features = gpd.read_parquet(source)
        else:
            features = gpd.read_file(source, layer=layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OSError(
            f"cannot read {str(source)!r} as vector data: {error}; expected a GeoPackage, GeoJSON, "
            "shapefile or GeoParquet file (layer= picks one of several layers)"
        ) from error
    except (ValueError, OSError) as error:
        raise OSError(f"cannot read {str(source)!r} as vector data: {error}") from error
    if not isinstance(features, gpd.GeoDataFrame):
        raise ValueError(f"{str(source)!r} is a table without geometries, so it labels no pixel")
    features.attrs["name"] = Path(source).stem
    return features


def burn(
    features: gpd.GeoDataFrame,
    like: xr.DataArray,
    what: str,
    *,
    column: str | None,
    background: int | None,
    ignore: int,
) -> xr.DataArray:
    """Rasterise features onto the pixels of `like`.

    A pixel belongs to the last feature that holds its centre.

    Parameters
    ----------
    features
        In any CRS.
    like
        Scene whose grid and chunks the result takes.
    what
        What error messages call the features.
    column, background, ignore
        As in `seg4eo_xr.scenes.labels.open_labels`.

    Returns
    -------
    DataArray (y, x)
        Codes, lazily burned; class table in the attributes.
    """
    if features.crs is None:
        raise ValueError(f"{what} have no CRS; set it with features.set_crs('EPSG:...')")
    drawn = features[~(features.geometry.isna() | features.geometry.is_empty)]
    if drawn.empty:
        raise ValueError(f"{what} hold no geometry in their {len(features)} rows")
    coding = _coding(drawn, what, column, background, ignore)
    transform = grid_transform(like, "the scene")
    moved = drawn.geometry.to_crs(like.rio.crs)
    pixels = _in_pixels(np.asarray(moved.array), transform)
    height, width = like.sizes["y"], like.sizes["x"]
    _require_overlap(pixels, (height, width), moved, like, what)
    dtype = _dtype_for([*coding.codes.tolist(), coding.background, ignore], what)
    shapes = _Shapes(pixels, coding.codes.astype(dtype), coding.background)
    labels = place(_burned_lazily(shapes, like, dtype), like.rio.crs, transform)
    return labels.assign_attrs(coding.classes.to_attrs())


# Where a scene's first pixel begins, in pixels: GDAL takes the transform of a window that begins at
# 0, 0 for none, and warns.
_ORIGIN = 1


class _Shapes:
    """Geometries in pixels of the whole scene, their codes, and an index of where they lie."""

    def __init__(self, geometries: np.ndarray, codes: np.ndarray, background: int) -> None:
        self.geometries = geometries
        self.codes = codes
        self.background = background

    @cached_property
    def index(self) -> Any:
        """Tree of bounding boxes, built once a process."""
        import shapely

        return shapely.STRtree(self.geometries)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("geometries", "codes", "background")}

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        import shapely

        digest = hashlib.blake2b(b"".join(shapely.to_wkb(self.geometries)))
        digest.update(self.codes.tobytes())
        return "shapes", digest.hexdigest(), str(self.codes.dtype), self.background

    def burn(self, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
        """Codes of one window."""
        import shapely
        from rasterio.features import rasterize

        shape = rows[1] - rows[0], cols[1] - cols[0]
        left, right, top, bottom = (edge + _ORIGIN for edge in (*cols, *rows))
        near = np.sort(self.index.query(shapely.box(left, top, right, bottom)))
        if not near.size:
            return np.full(shape, self.background, self.codes.dtype)
        return np.asarray(
            rasterize(
                zip(self.geometries[near], self.codes[near].tolist(), strict=True),
                out_shape=shape,
                fill=self.background,
                transform=Affine.translation(left, top),
                dtype=self.codes.dtype,
            )
        )


def _burned_lazily(shapes: _Shapes, like: xr.DataArray, dtype: np.dtype[Any]) -> da.Array:
    if like.chunks is not None:
        sides = like.chunks[-2:]
    else:
        size = {"band": 1, "y": like.sizes["y"], "x": like.sizes["x"]}
        automatic = chunk_sides(size, (1, 1), dtype.itemsize, "auto")
        sides = da.core.normalize_chunks((automatic["y"], automatic["x"]), (size["y"], size["x"]))
    token = tokenize(shapes, sides)
    burned: da.Array = da.map_blocks(
        _burn_block,
        chunks=sides,
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
        name=f"burn-{token}",
        # one key of the graph, so that a cluster ships the geometries once a worker
        shapes=delayed(shapes, name=f"shapes-{token}", traverse=False),
    )
    return burned


def _burn_block(shapes: _Shapes, block_info: Any = None) -> np.ndarray:
    return shapes.burn(*block_info[None]["array-location"])


def _in_pixels(geometries: np.ndarray, transform: Affine) -> np.ndarray:
    """Move geometries from CRS units to columns and rows.

    Once for the whole scene: windows then differ by whole numbers, and edges fall alike in each.
    """
    import shapely

    def to_pixels(points: np.ndarray) -> np.ndarray:
        columns = (points[:, 0] - transform.c) / transform.a
        rows = (points[:, 1] - transform.f) / transform.e
        return np.column_stack([columns, rows]) + _ORIGIN

    return np.asarray(shapely.transform(geometries, to_pixels))


def _require_overlap(
    pixels: np.ndarray,
    shape: tuple[int, int],
    moved: gpd.GeoSeries,
    like: xr.DataArray,
    what: str,
) -> None:
    import shapely

    left, top, right, bottom = shapely.total_bounds(pixels)
    height, width = shape[0] + _ORIGIN, shape[1] + _ORIGIN
    if right > _ORIGIN and bottom > _ORIGIN and left < width and top < height:
        return
    scene_bounds = tuple(round(bound, 6) for bound in like.rio.bounds())
    feature_bounds = tuple(round(float(bound), 6) for bound in moved.total_bounds)
    raise ValueError(
        f"{what} do not overlap the scene: in {crs_text(like.rio.crs)} they span {feature_bounds}, "
        f"the scene spans {scene_bounds}; check the CRS of both"
    )


def _coding(
    features: gpd.GeoDataFrame, what: str, column: str | None, background: int | None, ignore: int
) -> _Coding:
    if column is None:
        outside = 0 if background is None else background
        codes = np.ones(len(features), np.int64)
        names = {outside: "background", 1: features.attrs.get("name", "labelled")}
    else:
        if column not in features.columns:
            known = [str(name) for name in features.columns if name != features.geometry.name]
            raise ValueError(f"{what} have no column {column!r}; the columns are {known}")
        outside = ignore if background is None else background
        codes, names = _codes_of_column(features[column], what, ignore)
        if background is not None:
            names = {background: "background", **names}
    kept = sorted(code for code in names if code != ignore)
    if not kept:
        raise ValueError(f"{what} name no class: the column {column!r} holds only missing values")
    classes = ClassTable.from_codes(kept, [names[code] for code in kept])
    return _Coding(codes, outside, classes)


def _codes_of_column(column: Any, what: str, ignore: int) -> tuple[np.ndarray, dict[int, str]]:
    """Code of each feature, and the names of the codes; missing values are ignored."""
    missing = column.isna().to_numpy()
    present = column[~missing]
    codes = np.full(len(column), ignore, np.int64)
    try:
        numbers = np.asarray(present, np.float64)
    except (TypeError, ValueError):
        texts = present.astype(str)
        ordered = sorted(set(texts))
        code_of = {name: code for code, name in enumerate(ordered, start=1)}
        codes[~missing] = [code_of[text] for text in texts]
        return codes, {code: name for name, code in code_of.items()}
    if (numbers % 1 != 0).any():
        raise ValueError(
            f"the column {column.name!r} of {what} holds fractions, but class codes are whole "
            "numbers or names"
        )
    codes[~missing] = numbers.astype(np.int64)
    return codes, {int(code): f"class {int(code)}" for code in np.unique(codes[~missing])}


def _dtype_for(codes: list[int], what: str) -> np.dtype[Any]:
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= min(codes) and max(codes) <= limits.max:
            return np.dtype(dtype)
    raise ValueError(
        f"{what} have class codes from {min(codes)} to {max(codes)}, but labels are stored in 16 "
        "bits; renumber the classes"
    )
