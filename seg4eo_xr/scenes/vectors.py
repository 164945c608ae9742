"""Vector files, read with errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seg4eo_xr.scenes.rasters import require_local_path

if TYPE_CHECKING:
    import geopandas as gpd

VECTOR_SUFFIXES = (
    *(".fgb", ".gdb", ".geojson", ".geoparquet", ".gml", ".gpkg"),
    *(".json", ".kml", ".parquet", ".shp", ".sqlite", ".zip"),
)


def stated_geometry(source: str | Path, *, layer: str | None = None) -> str | None:
    """Kind of geometry that a vector file says it has, without reading any.

    Parameters
    ----------
    source
        Path of the file.
    layer
        Layer of it; the first if not given.

    Returns
    -------
    str or None
        As ``Point`` or ``MultiPolygon``; None where the file states none or has several, and of
        what is not for GDAL to read.
    """
    import pyogrio
    import pyogrio.errors

    require_local_path(source, "vector file")
    try:
        stated = pyogrio.read_info(source, layer=layer)["geometry_type"]
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
        return None
    kind = str(stated).split()[0]  # without the Z and M of further coordinates
    return None if kind in ("None", "Unknown", "GeometryCollection") else kind


def read_vector(
    source: str | Path, *, layer: str | None = None, encoding: str | None = None
) -> gpd.GeoDataFrame:
    """Read any vector file that GDAL knows, or GeoParquet.

    Parameters
    ----------
    source
        Path of the file.
    layer
        Layer of it; the first if not given.
    encoding
        Encoding of its texts, of a shapefile; the one that it states if not given.

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
            features = gpd.read_file(source, layer=layer, encoding=encoding)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OSError(
            f"cannot read {str(source)!r} as vector data: {error}; expected a GeoPackage, GeoJSON, "
            "shapefile or GeoParquet file (layer= (--layer) picks one of several layers)"
        ) from error
    except (UnicodeDecodeError, LookupError) as error:
        raise OSError(
            f"cannot read the texts of {str(source)!r}: {error}; name the encoding of the file "
            "with encoding= (--encoding), such as cp1252 or utf-8"
        ) from error
    except (ValueError, OSError) as error:
        raise OSError(f"cannot read {str(source)!r} as vector data: {error}") from error
    if not isinstance(features, gpd.GeoDataFrame):
        raise ValueError(
            f"{str(source)!r} is a table without geometries, so it labels no pixel; make points of "
            "its coordinates first, as with `ogr2ogr points.gpkg TABLE.csv -oo "
            "X_POSSIBLE_NAMES=lon -oo Y_POSSIBLE_NAMES=lat -a_srs EPSG:4326`"
        )
    features.attrs["name"] = Path(source).stem
    return features
