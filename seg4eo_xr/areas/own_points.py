"""Reference points that somebody else has chosen, on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import dask.array as da
import numpy as np

from seg4eo_xr.areas.sample_options import DrawnBy
from seg4eo_xr.areas.sample_table import (
    PIXEL_AREA,
    first_of,
    reference_codes,
    require_columns,
    sample_table,
    words_of,
)
from seg4eo_xr.areas.sampling import map_and_strata, map_classes, strata_sizes
from seg4eo_xr.geometry.hashing import pixel_numbers
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.options import require_choice
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import crs_text
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas
from seg4eo_xr.scenes.resampling import Grid
from seg4eo_xr.scenes.shapes import points_in_pixels
from seg4eo_xr.scenes.vectors import read_vector

if TYPE_CHECKING:
    from os import PathLike

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.areas.sampling import Raster


def sample_of_points(
    points: gpd.GeoDataFrame | str | PathLike[str],
    prediction: Raster,
    *,
    column: str = "reference",
    strata: Raster | None = None,
    classes: ClassTable | None = None,
    drawn_by: DrawnBy = "pixel",
) -> gpd.GeoDataFrame:
    """Make a sample of reference points that are there already.

    They must have been drawn at random within each stratum. Points that somebody chose, because
    they lay near a road or were easy to recognise, say nothing about the rest of the map, and no
    formula corrects that.

    Parameters
    ----------
    points
        Points of any CRS, or a vector file of them.
    prediction
        A map, or what `open_map` opens; of a Dataset the layer ``classes``. It is read once, for
        the sizes of the strata.
    column
        Column of the class at each point, by name or code.
    strata
        Raster on the map's grid whose codes are the strata that the points were drawn from; the
        classes of the map if not given.
    classes
        The classes; by default those of the map's attributes, else the codes that occur.
    drawn_by
        How points were drawn within a stratum: ``"pixel"``, every pixel with the same chance, so
        that a point counts for the area of its pixel; or ``"area"``, every square metre with the
        same chance, as `draw_sample` does, so that all points of a stratum count alike. It matters
        where areas of pixels differ: in degrees, and in Web Mercator.

    Returns
    -------
    GeoDataFrame
        As `draw_sample` gives it, filled in, with the points at the centres of their pixels and
        named by the index of `points`; by ``"pixel"`` with the areas of the pixels in m² in the
        column ``pixel_area``.

    Raises
    ------
    ValueError
        If points lie outside the map or where it is nodata, the column is missing, there is no CRS,
        something is no point, or `drawn_by` is unknown.
    FileNotFoundError, OSError
        If a file is missing or unreadable.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
    >>> import geopandas as gpd
    >>> places = gpd.points_from_xy([400305, 400505], [5299535, 5299635], crs=labels.rio.crs)
    >>> plots = gpd.GeoDataFrame({"cover": [1, 2]}, geometry=places)
    >>> len(sample_of_points(plots, labels, column="cover"))
    2
    """
    import pandas as pd

    require_choice("drawn_by", drawn_by, get_args(DrawnBy))
    features: Any = points if hasattr(points, "geometry") else read_vector(str(points))
    require_columns(features, (column,), "the table of points")
    mapped, layer = map_and_strata(prediction, strata)
    rows, cols = pixels_of_points(features, mapped)
    names = [str(name) for name in features.index]
    codes = values_at(mapped, rows, cols, names, "map")
    stratum = codes if strata is None else values_at(layer, rows, cols, names, "raster of strata")
    table = map_classes(mapped, classes, codes)
    own = classes if strata is None else None
    sizes = strata_sizes(mapped, layer, own or ClassTable.from_attrs(layer.attrs))
    sample = sample_table(mapped, sizes, table, pixel_numbers(rows, cols), (stratum, codes))
    words = [word or None for word in words_of(features[column])]
    sample["id"], sample["reference"] = names, pd.array(words, dtype="string")
    if drawn_by == "pixel":
        areas = PixelAreas(Grid.of(mapped)).at(rows, cols)
        sample[PIXEL_AREA] = (areas / AREA_UNITS).astype(np.float64)
    reference_codes(sample, table)
    return sample


def pixels_of_points(
    points: gpd.GeoDataFrame, mapped: xr.DataArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the pixel around each point.

    Raises
    ------
    ValueError
        If the points have no CRS, something is no point, or one lies outside the map.
    """
    if points.crs is None:
        raise ValueError("the points have no CRS; set it with points.set_crs('EPSG:...')")
    kinds = set(points.geometry.geom_type) - {"Point"}
    if kinds or points.geometry.isna().any():
        raise ValueError(
            f"a sample is made of points, but the table holds {', '.join(map(str, kinds))}; "
            "take points.representative_point()"
        )
    row, col = points_in_pixels(points, mapped, "the map")
    inside = (row >= 0) & (row < mapped.sizes["y"]) & (col >= 0) & (col < mapped.sizes["x"])
    if not inside.all():
        raise ValueError(
            f"{np.count_nonzero(~inside)} of {len(points)} points lie outside the map: "
            f"{first_of(points.index[~inside].tolist())}; the map spans {mapped.rio.bounds()} in "
            f"{crs_text(mapped.rio.crs)}. Check the CRS of the points, or leave these out"
        )
    return row.astype(np.int64), col.astype(np.int64)


def values_at(
    layer: xr.DataArray,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    names: list[str],
    what: str,
) -> NDArray[np.int64]:
    """Codes of a raster at some pixels; only the chunks that hold them are read.

    Raises
    ------
    ValueError
        If one is nodata.
    """
    if isinstance(layer.data, da.Array):
        values = layer.data.vindex[rows, cols].compute()
    else:
        values = layer.values[rows, cols]
    nodata = nodata_of(layer)
    if nodata is not None and (values == nodata).any():
        missing = [name for name, value in zip(names, values, strict=True) if value == nodata]
        raise ValueError(
            f"{len(missing)} of {len(names)} points lie where the {what} is nodata: "
            f"{first_of(missing)}; leave them out"
        )
    return np.asarray(values, np.int64)
