"""Vector features burned onto the grid of a scene, chunk by chunk."""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from affine import Affine
from dask.base import tokenize
from dask.delayed import delayed

from seg4eo_xr.scenes.coding import code_features, column_of
from seg4eo_xr.scenes.grid import crs_text, grid_transform, place, require_degrees
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.rasters import chunk_sides

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.label_options import LabelOptions

# Pixels drawn beside a window where features claim all they touch: GDAL cuts lines at its edges.
_TOUCHED_MARGIN = 4
# Where a scene's first pixel begins, in pixels: GDAL takes the transform of a window that begins at
# 0, 0 for none, and warns.
_ORIGIN = _TOUCHED_MARGIN + 1
# Pixels by which features that claim all they touch are moved: a line through the very corner of a
# pixel would touch it or not by rounding, which differs from window to window.
_NUDGE = (1e-6 * 2**0.5, 1e-6 * 3**0.5)
# Features that reach this many times the scene's size beyond it on two opposite sides are clipped.
_CLIP_MARGIN = 10


def burn(
    features: gpd.GeoDataFrame,
    like: xr.DataArray,
    what: str,
    options: LabelOptions,
    classes: ClassTable | None = None,
) -> xr.DataArray:
    """Rasterise features onto the pixels of `like`.

    Parameters
    ----------
    features
        In any CRS.
    like
        Scene whose grid and chunks the result takes.
    what
        What error messages call the features.
    options
        Which column, what lies between features, and which of them lies on top.
    classes
        Table that gives the codes; see `seg4eo_xr.scenes.coding.code_features`.

    Returns
    -------
    DataArray (y, x)
        Codes, lazily burned; class table in the attributes.

    Warns
    -----
    LabelWarning
        If polygons on the scene are invalid; they are repaired.
    """
    if features.crs is None:
        raise ValueError(
            f"{what} have no CRS; set it with features.set_crs('EPSG:...'), or in "
            "the file with `ogr2ogr -a_srs EPSG:... with_crs.gpkg FILE`"
        )
    drawn = features[~(features.geometry.isna() | features.geometry.is_empty)]
    if drawn.empty:
        raise ValueError(
            f"{what} hold no geometry in their {len(features)} rows; check how they were made, or "
            "pick another layer of the file with layer= (--layer)"
        )
    require_degrees(tuple(drawn.total_bounds), features.crs, what)
    require_degrees(like.rio.bounds(), like.rio.crs, "the scene")
    coding = code_features(drawn, what, options, classes)
    transform = grid_transform(like, "the scene")
    nudge = _NUDGE if options.all_touched else (0.0, 0.0)
    pixels = _in_pixels(_in_crs_of(drawn.geometry, like), transform, nudge)
    order = _drawing_order(drawn, what, options)
    order = order[_on_scene(pixels, like)[order]]
    if not order.size:
        raise ValueError(_no_overlap(drawn, like, what))
    dtype = _dtype_for([*coding.codes.tolist(), *coding.classes.codes, options.ignore], what)
    geometries, codes = _repaired(pixels[order], coding.codes[order].astype(dtype), what)
    shapes = _Shapes(geometries, codes, coding.background, options.all_touched)
    labels = place(_burned_lazily(shapes, like, dtype), like.rio.crs, transform)
    return labels.assign_attrs(coding.classes.to_attrs())


class _Shapes:
    """Geometries in pixels of the whole scene, their codes, and an index of where they lie."""

    def __init__(
        self, geometries: np.ndarray, codes: np.ndarray, background: int, all_touched: bool
    ) -> None:
        self.geometries = geometries
        self.codes = codes
        self.background = background
        self.all_touched = all_touched

    @cached_property
    def index(self) -> Any:
        """Tree of bounding boxes, built once a process."""
        import shapely

        return shapely.STRtree(self.geometries)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "index"}

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        import shapely

        digest = hashlib.blake2b(b"".join(shapely.to_wkb(self.geometries)))
        digest.update(self.codes.tobytes())
        codes = str(self.codes.dtype), self.background
        return "shapes", digest.hexdigest(), *codes, self.all_touched

    def burn(self, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
        """Codes of one window."""
        import shapely
        from rasterio.features import rasterize

        margin = _TOUCHED_MARGIN if self.all_touched else 0
        left, top = cols[0] + _ORIGIN - margin, rows[0] + _ORIGIN - margin
        right, bottom = cols[1] + _ORIGIN + margin, rows[1] + _ORIGIN + margin
        near = np.sort(self.index.query(shapely.box(left, top, right, bottom)))
        if not near.size:
            shape = rows[1] - rows[0], cols[1] - cols[0]
            return np.full(shape, self.background, self.codes.dtype)
        burned = rasterize(
            zip(self.geometries[near], self.codes[near].tolist(), strict=True),
            out_shape=(bottom - top, right - left),
            fill=self.background,
            transform=Affine.translation(left, top),
            dtype=self.codes.dtype,
            all_touched=self.all_touched,
        )
        return np.asarray(burned[margin : burned.shape[0] - margin, margin : right - left - margin])


def plane_chunks(like: xr.DataArray, itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunks along y and x of a plane on a scene's grid: the scene's own where it is lazy."""
    if like.chunks is not None:
        rows, cols = like.chunks[-2:]
        return rows, cols
    size = {"band": 1, "y": like.sizes["y"], "x": like.sizes["x"]}
    automatic = chunk_sides(size, (1, 1), itemsize, "auto")
    rows, cols = da.core.normalize_chunks((automatic["y"], automatic["x"]), (size["y"], size["x"]))
    return rows, cols


def _burned_lazily(shapes: _Shapes, like: xr.DataArray, dtype: np.dtype[Any]) -> da.Array:
    sides = plane_chunks(like, dtype.itemsize)
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


def _in_crs_of(geometries: gpd.GeoSeries, like: xr.DataArray) -> np.ndarray:
    """Reproject geometries; those far larger than the scene are first clipped around it.

    A CRS such as UTM folds what reaches to the other side of the earth.
    """
    import shapely
    from rasterio.warp import transform_bounds

    shapes = np.array(geometries.array)
    west, south, east, north = transform_bounds(
        like.rio.crs, geometries.crs, *like.rio.bounds(), densify_pts=64
    )
    dx, dy = _CLIP_MARGIN * (east - west), _CLIP_MARGIN * (north - south)
    window = west - dx, south - dy, east + dx, north + dy
    # across the antimeridian there is no such window
    if np.isfinite(window).all() and dx > 0:
        left, bottom, right, top = shapely.bounds(shapes).T
        wide = (left < window[0]) & (right > window[2]) | (bottom < window[1]) & (top > window[3])
        shapes[wide] = shapely.clip_by_rect(shapes[wide], *window)
    moved = type(geometries)(shapes, crs=geometries.crs).to_crs(like.rio.crs)
    return np.asarray(moved.array)


def _in_pixels(geometries: np.ndarray, transform: Affine, nudge: tuple[float, float]) -> np.ndarray:
    """Move geometries from CRS units to columns and rows.

    Once for the whole scene: windows then differ by whole numbers, and edges fall alike in each.
    """
    import shapely

    def to_pixels(points: np.ndarray) -> np.ndarray:
        columns = (points[:, 0] - transform.c) / transform.a
        rows = (points[:, 1] - transform.f) / transform.e
        return np.column_stack([columns + nudge[0], rows + nudge[1]]) + _ORIGIN

    return np.asarray(shapely.transform(geometries, to_pixels))


def _on_scene(pixels: np.ndarray, like: xr.DataArray) -> np.ndarray:
    """Whether the bounding box of each geometry shares a pixel with the scene."""
    import shapely

    left, top, right, bottom = shapely.bounds(pixels).T
    height, width = like.sizes["y"] + _ORIGIN, like.sizes["x"] + _ORIGIN
    # a point on the first edge lies in the first pixel, a polygon that ends there in none
    columns = ((right > _ORIGIN) | (left >= _ORIGIN)) & (left < width)
    return np.asarray(columns & ((bottom > _ORIGIN) | (top >= _ORIGIN)) & (top < height))


def _drawing_order(features: gpd.GeoDataFrame, what: str, options: LabelOptions) -> np.ndarray:
    """Positions of the features from the lowest to the one on top."""
    import shapely

    if options.overlap == "last":
        order = np.arange(len(features))
    elif options.overlap == "first":
        order = np.arange(len(features))[::-1]
    else:
        area = shapely.area(np.asarray(features.geometry.array))
        order = np.argsort(area if options.overlap == "largest" else -area, kind="stable")
    if options.order_by is None:
        return order
    rank = column_of(features, options.order_by, what).rank(method="dense").to_numpy()
    # features without a value lie below all others
    return np.asarray(order[np.argsort(np.nan_to_num(rank)[order], kind="stable")])


def _repaired(
    geometries: np.ndarray, codes: np.ndarray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mend invalid polygons; those that collapse to a line are no area and fall out."""
    import shapely

    invalid = ~shapely.is_valid(geometries) & (shapely.get_dimensions(geometries) == 2)
    if not invalid.any():
        return geometries, codes
    warnings.warn(
        f"{int(invalid.sum())} of the {len(geometries)} features of {what} on the scene are "
        "invalid polygons (self-crossing, for instance); they were repaired with "
        "shapely.make_valid: look at the labels before you trust them",
        LabelWarning,
        stacklevel=4,
    )
    mended = geometries.copy()
    mended[invalid] = shapely.make_valid(
        geometries[invalid], method="structure", keep_collapsed=False
    )
    left = ~shapely.is_empty(mended)
    return mended[left], codes[left]


def _no_overlap(features: gpd.GeoDataFrame, like: xr.DataArray, what: str) -> str:
    scene_bounds = tuple(round(bound, 6) for bound in like.rio.bounds())
    moved = features.geometry.to_crs(like.rio.crs)
    feature_bounds = tuple(round(float(bound), 6) for bound in moved.total_bounds)
    return (
        f"{what} do not overlap the scene: in {crs_text(like.rio.crs)} they span {feature_bounds}, "
        f"the scene spans {scene_bounds}; check the CRS of both"
    )


def _dtype_for(codes: list[int], what: str) -> np.dtype[Any]:
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= min(codes) and max(codes) <= limits.max:
            return np.dtype(dtype)
    raise ValueError(
        f"{what} have class codes from {min(codes)} to {max(codes)}, but labels are stored in 16 "
        "bits; renumber the classes"
    )
