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


def read_vector(
    source: str | Path, *, layer: str | None = None, rows: int | None = None
) -> gpd.GeoDataFrame:
    """Read any vector file that GDAL knows, or GeoParquet.

    Parameters
    ----------
    source
        Path of the file.
    layer
        Layer of it; the first if not given.
    rows
        Read the first so many features; all if not given.

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
            features = gpd.read_parquet(source).iloc[:rows]
        else:
            features = gpd.read_file(source, layer=layer, rows=rows)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OSError(
            f"cannot read {str(source)!r} as vector data: {error}; expected a GeoPackage, GeoJSON, "
            "shapefile or GeoParquet file (layer= (--layer) picks one of several layers)"
        ) from error
    except (ValueError, OSError) as error:
        raise OSError(f"cannot read {str(source)!r} as vector data: {error}") from error
    if not isinstance(features, gpd.GeoDataFrame):
        raise ValueError(f"{str(source)!r} is a table without geometries, so it labels no pixel")
    features.attrs["name"] = Path(source).stem
    return features
