"""Vector features in the pixels of a scene, burned one window at a time."""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from seg4eo_xr.scenes.grid import crs_text, grid_transform, require_degrees, same_crs
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.turns import turn_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr

# Pixels drawn beside a window where features claim all they touch: GDAL cuts lines at its edges.
_TOUCHED_MARGIN = 4
# Where a scene's first pixel begins, in pixels: GDAL takes the transform of a window that begins at
# 0, 0 for none, and warns.
_ORIGIN = _TOUCHED_MARGIN + 1
# Features that reach this many times the scene's size beyond it on two opposite sides are clipped.
_CLIP_MARGIN = 10
_MOST_BEND = 0.5  # pixels
_MOST_PIECES = 1000
_SHORT_EDGE = 4  # pixels: too short for a bend that counts


def drawable(features: gpd.GeoDataFrame, what: str) -> gpd.GeoDataFrame:
    """Pick the features that have a geometry.

    Raises
    ------
    ValueError
        If there is none, or they have no CRS or one that cannot be theirs.
    """
    if features.crs is None:
        raise ValueError(
            f"{what} have no CRS; set it with features.set_crs('EPSG:...'), or in "
            "the file with `ogr2ogr -a_srs EPSG:... with_crs.gpkg FILE`"
        )
    drawn: gpd.GeoDataFrame = features[~(features.geometry.isna() | features.geometry.is_empty)]
    if drawn.empty:
        raise ValueError(
            f"{what} hold no geometry in their {len(features)} rows; check how they were made, or "
            "pick another layer of the file with layer= (--layer)"
        )
    require_degrees(tuple(drawn.total_bounds), features.crs, what)
    return drawn


def shapes_on_scene(
    features: gpd.GeoDataFrame, like: xr.DataArray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Move features of any CRS into the pixels of a scene, as `Shapes` takes them.

    Returns
    -------
    ndarray of geometries, ``(shape,)``
        Of the features that share a pixel with the scene; invalid polygons are repaired.
    ndarray of int64, ``(shape,)``
        Positions of those features.

    Raises
    ------
    ValueError
        If there is none, or they have no CRS.
    """
    drawn = drawable(features, what)
    pixels, on_scene = pixels_on_scene(drawn, like, what, (0.0, 0.0))
    positions = np.flatnonzero(~(features.geometry.isna() | features.geometry.is_empty))
    return repaired(pixels[on_scene], positions[on_scene], what)


def points_in_pixels(
    points: gpd.GeoDataFrame, like: xr.DataArray, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of points of any CRS, real numbers.

    What lies on an edge is of the next pixel. They are not finite where the raster's CRS does not
    know the place.

    Parameters
    ----------
    points
        The points, each with a geometry.
    like
        The raster.
    what
        What error messages call the raster.
    """
    moved = points.geometry.to_crs(like.rio.crs.to_wkt())
    # divided by the size of a pixel, edges would come to lie on either side of whole numbers
    inverse = ~grid_transform(like, what)
    row = inverse.e * moved.y.to_numpy() + inverse.f
    x = moved.x.to_numpy()
    return row, inverse.a * (x + _turns_to_scene(x, x, like)) + inverse.c


def pixels_on_scene(
    drawn: gpd.GeoDataFrame, like: xr.DataArray, what: str, nudge: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Geometries in pixels, and which of them share a pixel with the scene: one at least."""
    require_degrees(like.rio.bounds(), like.rio.crs, "the scene")
    transform = grid_transform(like, "the scene")
    pixels = _in_pixels(_in_crs_of(drawn.geometry, like), transform, nudge)
    on_scene = _on_scene(pixels, like)
    if not on_scene.any():
        raise ValueError(_no_overlap(drawn, like, what))
    return pixels, on_scene


class Shapes:
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

    def window(self) -> tuple[int, int, int, int]:
        """First row and the one past the last, first column and the one past the last."""
        import shapely

        left, top, right, bottom = shapely.total_bounds(self.geometries) - _ORIGIN
        return floor(top), ceil(bottom), floor(left), ceil(right)

    def hold(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Whether places lie in some geometry; in pixels, real numbers, ``(place,)``."""
        import shapely

        places = shapely.points(column + _ORIGIN, row + _ORIGIN)
        held = np.zeros(len(places), bool)
        held[self.index.query(places, predicate="intersects")[0]] = True
        return held

    def reach(self, rows: Sequence[tuple[int, int]], cols: Sequence[tuple[int, int]]) -> np.ndarray:
        """Whether some geometry shares a point with each window of a lattice, ``(rows, cols)``."""
        import shapely

        (tops, bottoms), (lefts, rights) = (np.transpose(spans) + _ORIGIN for spans in (rows, cols))
        boxes = shapely.box(lefts, tops[:, None], rights, bottoms[:, None])
        window, geometry = self.index.query(boxes.ravel())
        # Prepared, a border of a million corners answers thousands of windows in no time.
        shapely.prepare(self.geometries)
        met = shapely.intersects(self.geometries[geometry], boxes.ravel()[window])
        reached = np.zeros(boxes.size, bool)
        reached[window[met]] = True
        return reached.reshape(boxes.shape)

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


def _in_crs_of(geometries: gpd.GeoSeries, like: xr.DataArray) -> np.ndarray:
    """Reproject geometries; those far larger than the scene are first clipped around it.

    A CRS such as UTM folds what reaches to the other side of the earth.
    """
    import shapely
    from rasterio.crs import CRS
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
    clipped = type(geometries)(shapes, crs=geometries.crs)
    if not same_crs(CRS.from_user_input(geometries.crs), like.rio.crs):
        pixel = min((east - west) / like.sizes["x"], (north - south) / like.sizes["y"])
        least = _SHORT_EDGE * pixel if np.isfinite(pixel) else 0.0
        clipped = _with_bends(clipped, like, least)
    moved = clipped.to_crs(like.rio.crs)
    return _on_side_of_scene(np.asarray(moved.array), like)


def _with_bends(geometries: gpd.GeoSeries, like: xr.DataArray, least: float) -> gpd.GeoSeries:
    """Put points into long edges that are no straight lines in the CRS of a scene.

    An edge along a parallel, as of a box in degrees, is an arc around the pole in a polar CRS.
    Edges that bend by less than half a pixel stay as they are; those shorter than `least` do.
    """
    import shapely

    shapes = np.array(geometries.array)
    points, owners = shapely.get_coordinates(shapes, return_index=True)
    lengths = np.hypot(*np.diff(points, axis=0).T)
    long = (owners[1:] == owners[:-1]) & (lengths > least)
    if not long.any():
        return geometries
    starts, ends, owners, lengths = (
        points[:-1][long],
        points[1:][long],
        owners[1:][long],
        lengths[long],
    )

    def in_pixels(places: np.ndarray) -> np.ndarray:
        moved = type(geometries)(shapely.points(places), crs=geometries.crs).to_crs(like.rio.crs)
        resolution = np.abs(like.rio.resolution())
        return np.asarray(shapely.get_coordinates(np.array(moved.array)) / resolution)

    middle = in_pixels((starts + ends) / 2)
    bends = np.hypot(*(middle - (in_pixels(starts) + in_pixels(ends)) / 2).T)
    bends = np.where(np.isfinite(bends), bends, 0.0)
    longest, bend = np.zeros(len(shapes)), np.zeros(len(shapes))
    np.maximum.at(longest, owners, lengths)
    np.maximum.at(bend, owners, bends)
    for position in np.flatnonzero(bend > _MOST_BEND):
        # halves of an edge bend by a quarter
        pieces = min(_MOST_PIECES, ceil(sqrt(10 * bend[position] / _MOST_BEND)))
        shapes[position] = shapely.segmentize(shapes[position], longest[position] / pieces)
    return type(geometries)(shapes, crs=geometries.crs)


def _turns_to_scene(left: np.ndarray, right: np.ndarray, like: xr.DataArray) -> np.ndarray:
    """Whole turns along x to what lies beside a scene, where that brings it nearer."""
    west, _, east, _ = like.rio.bounds()
    turn = turn_of(like.rio.crs)
    if not turn:
        return np.zeros(left.shape)
    turns: np.ndarray = turn * np.rint(((west + east) - (left + right)) / (2 * turn))
    return np.where((right < west) | (left > east), turns, 0.0)


def _on_side_of_scene(geometries: np.ndarray, like: xr.DataArray) -> np.ndarray:
    """Move parts of geometries that a scene, which may cross 180°, has a turn further on.

    What crosses the edge of a scene that spans a whole turn, as at 0° of longitudes from 0 to 360,
    lies at both of its edges.
    """
    import shapely

    turn = turn_of(like.rio.crs)
    if not turn:
        return geometries
    parts, owners = shapely.get_parts(geometries, return_index=True)
    left, _, right, _ = shapely.bounds(parts).T
    turns = _turns_to_scene(left, right, like)
    there = np.flatnonzero(np.isfinite(turns) & (turns != 0))
    west, _, east, _ = like.rio.bounds()
    little = 1e-9 * turn
    stays = (turns == 0) & (left < east) & (right > west)
    eastern = np.flatnonzero(stays & (left + turn < east - little))
    western = np.flatnonzero(stays & (right - turn > west + little))
    copies = [_moved(parts[eastern], turn), _moved(parts[western], -turn)]
    changed = np.concatenate([there, eastern, western])
    if not changed.size:
        return geometries
    for position in there:
        parts[position] = _moved(parts[position], turns[position])
    whole = geometries.copy()
    every = np.concatenate([parts, *copies])
    everyone = np.concatenate([owners, owners[eastern], owners[western]])
    for owner in np.unique(owners[changed]):
        own = every[everyone == owner]
        # parts that met at 180° have an edge in common now, which a multipolygon may not have
        if len(own) > 1 and shapely.is_valid(own).all():
            whole[owner] = shapely.union_all(own)
        else:
            whole[owner] = own[0] if len(own) == 1 else shapely.GeometryCollection(list(own))
    return whole


def _moved(geometries: Any, by: float) -> Any:
    """Geometries moved along x."""
    import shapely

    return shapely.transform(geometries, lambda points: points + np.array([by, 0.0]))


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


def repaired(geometries: np.ndarray, codes: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
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
