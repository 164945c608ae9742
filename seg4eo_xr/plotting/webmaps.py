"""Scenes, maps and polygons as layers of a web map, for notebooks; needs folium."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.warp import calculate_default_transform, reproject, transform_bounds

from seg4eo_xr.html import chip_html, lines_html
from seg4eo_xr.maps.store import class_layer
from seg4eo_xr.plotting.figures import class_entries
from seg4eo_xr.plotting.overlays import classes_picture
from seg4eo_xr.plotting.rasters import scene_picture, table_of
from seg4eo_xr.plotting.reading import LARGEST_SIDE, read_thinned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import geopandas as gpd
    from numpy.typing import NDArray

_WEB_MERCATOR = "EPSG:3857"
_MOST_POLYGONS = 20_000  # more make a page that browsers give up on
_LEGEND = (
    '<div style="position:fixed;bottom:2em;left:1em;z-index:9999;background:#fff;color:#222;'
    'padding:0 .8em;border-radius:4px;box-shadow:0 0 4px #0006">'
)


def explore(
    prediction: xr.Dataset | xr.DataArray | str | PathLike[str] | None = None,
    *,
    scene: xr.DataArray | None = None,
    polygons: gpd.GeoDataFrame | str | PathLike[str] | None = None,
    bands: Sequence[str] | None = None,
    opacity: float = 0.7,
    tiles: str | None = "OpenStreetMap",
) -> Any:
    """Put a scene, a map and polygons onto a web map, each a layer that can be switched off.

    Pictures of at most 1024 px a side, warped to web mercator, become part of the page: what is
    shown does not depend on files. The page itself fetches its viewer and tiles from the network.

    Parameters
    ----------
    prediction
        A map, labels, or the path of a map; of a Dataset the classes, and the confidence if there
        is one.
    scene
        Drawn as `seg4eo_xr.plotting.plot_scene` draws it.
    polygons
        Features of any CRS, as `seg4eo_xr.to_polygons` gives them, or a vector file.
    bands
        Bands of the scene to show.
    opacity
        Of the map, 0 to 1.
    tiles
        What lies below, by its folium name; None for nothing.

    Returns
    -------
    folium.Map

    Raises
    ------
    ImportError
        If folium is not installed.
    ValueError
        If there is nothing to show, no CRS, or more polygons than a page holds.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> page = explore(labels, scene=scene, tiles=None)
    >>> "forest" in page.get_root().render()
    True
    """
    folium = _folium()
    if prediction is None and scene is None and polygons is None:
        raise ValueError("there is nothing to explore: give a map, a scene or polygons")
    page = folium.Map(tiles=tiles)
    bounds = []
    if scene is not None:
        image, valid, _ = scene_picture(scene, bands)
        bounds.append(_add(page, "scene", _opaque(image, valid), scene))
    if prediction is not None:
        bounds += _add_map(page, prediction, opacity)
    if polygons is not None:
        bounds.append(_add_polygons(page, polygons))
    folium.LayerControl(collapsed=False).add_to(page)
    west, south, east, north = np.transpose(bounds)
    page.fit_bounds([[south.min(), west.min()], [north.max(), east.max()]])
    return page


def _folium() -> Any:
    try:
        import folium
    except ImportError as error:
        raise ImportError(
            "explore needs folium, which is not installed; it comes with the extra 'notebook': "
            "`pip install folium`, or `pip install -e '.[notebook]'` in a checkout; plot draws "
            "without it"
        ) from error
    return folium


def _add_map(page: Any, prediction: Any, opacity: float) -> list[tuple[float, ...]]:
    """Add the classes with their legend, and the confidence if there is one."""
    import folium

    layer = class_layer(prediction)
    codes = read_thinned(layer)
    table = table_of(layer, codes)
    picture = classes_picture(codes, table)
    bounds = [_add(page, str(layer.name or "classes"), picture, layer, opacity)]
    if isinstance(prediction, xr.Dataset) and "confidence" in prediction:
        sure = prediction["confidence"]
        picture = _confidence_picture(read_thinned(sure))
        _add(page, "confidence (yellow: sure)", picture, sure, opacity, show=False)
    chips = [chip_html(color, name) for name, color in class_entries([(table, codes)])]
    legend = f"{_LEGEND}{lines_html(chips)}</div>"
    page.get_root().html.add_child(folium.Element(legend))
    return bounds


def _confidence_picture(values: np.ndarray) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    picture = colormaps["viridis"](np.nan_to_num(values), bytes=True)
    picture[..., 3] = np.where(np.isnan(values), 0, 255)
    return np.asarray(picture, np.uint8)


def _opaque(image: np.ndarray, valid: np.ndarray) -> NDArray[np.uint8]:
    """Colours of a scene's picture, clear where it has no data."""
    colors = np.broadcast_to(image, (*valid.shape, 3))
    alpha = np.where(valid, 255, 0)[..., None]
    return np.concatenate([np.rint(255 * colors), alpha], axis=-1).astype(np.uint8)


def _add(
    page: Any,
    name: str,
    picture: np.ndarray,
    like: xr.DataArray,
    opacity: float = 1.0,
    *,
    show: bool = True,
) -> tuple[float, ...]:
    """Add a picture that covers an array's ground; return its bounds in degrees."""
    from folium.raster_layers import ImageOverlay

    warped, (west, south, east, north) = to_web_mercator(picture, like)
    ImageOverlay(
        warped, [[south, west], [north, east]], name=name, opacity=opacity, show=show
    ).add_to(page)
    return west, south, east, north


def to_web_mercator(
    picture: np.ndarray, like: xr.DataArray
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Warp a picture to web mercator, by nearest pixels.

    Parameters
    ----------
    picture
        ``(y, x, 4)`` uint8, of all the ground of `like`.
    like
        The raster, with its CRS.

    Returns
    -------
    ndarray of uint8, ``(y, x, 4)``
        At most 1024 px a side; clear where `like` does not reach.
    tuple of float
        West, south, east and north edge in degrees.

    Raises
    ------
    ValueError
        If `like` has no CRS.
    """
    if like.rio.crs is None:
        raise ValueError(
            "a web map needs to know where a raster lies; set its CRS: rio.write_crs('EPSG:...')"
        )
    height, width = picture.shape[:2]
    bounds = like.rio.bounds(recalc=True)
    target, columns, rows = calculate_default_transform(
        like.rio.crs, _WEB_MERCATOR, width, height, *bounds
    )
    shrink = max(1.0, max(columns, rows) / LARGEST_SIDE)
    shape = math.ceil(rows / shrink), math.ceil(columns / shrink)
    edges = target.c, target.f + target.e * rows, target.c + target.a * columns, target.f
    warped = np.zeros((4, *shape), np.uint8)
    reproject(
        np.ascontiguousarray(np.moveaxis(picture, -1, 0)),
        warped,
        src_transform=from_bounds(*bounds, width, height),
        src_crs=like.rio.crs,
        dst_transform=from_bounds(*edges, shape[1], shape[0]),
        dst_crs=_WEB_MERCATOR,
        resampling=Resampling.nearest,
    )
    return np.moveaxis(warped, 0, -1), transform_bounds(_WEB_MERCATOR, "EPSG:4326", *edges)


def _add_polygons(page: Any, polygons: Any) -> tuple[float, ...]:
    """Add features with what they say of themselves; return their bounds in degrees."""
    import folium
    import geopandas as gpd

    if not isinstance(polygons, gpd.GeoDataFrame):
        from seg4eo_xr.scenes.vectors import read_vector

        polygons = read_vector(polygons)
    if len(polygons) > _MOST_POLYGONS:
        raise ValueError(
            f"{len(polygons):,} polygons are more than a web page shows ({_MOST_POLYGONS:,}); make "
            "fewer with to_polygons(min_pixels=...), or show those of one area"
        )
    shown = polygons.to_crs("EPSG:4326")
    columns = [str(name) for name in shown.columns if name != shown.geometry.name]
    folium.GeoJson(
        shown.to_json(default=str),
        name="polygons",
        style_function=_outline,
        tooltip=folium.GeoJsonTooltip(columns) if columns else None,
    ).add_to(page)
    west, south, east, north = map(float, shown.total_bounds)
    return west, south, east, north


def _outline(_feature: object) -> dict[str, Any]:
    return {"color": "#222222", "weight": 1.5, "fillOpacity": 0.05}
