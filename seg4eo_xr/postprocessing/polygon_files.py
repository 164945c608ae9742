"""Polygons written table by table, so that they need not fit into memory together."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import geopandas as gpd

    Writer = Callable[[Iterable[gpd.GeoDataFrame], Path, str], None]


def writer_for(path: Path) -> Writer:
    """Choose how to write polygons by the suffix of their file.

    Raises
    ------
    ValueError
        If it is none of .parquet, .geoparquet and .gpkg.
    """
    writers: dict[str, Writer] = {
        ".parquet": write_geoparquet,
        ".geoparquet": write_geoparquet,
        ".gpkg": write_geopackage,
    }
    if path.suffix.lower() not in writers:
        raise ValueError(
            f"polygons are written as GeoParquet (.parquet, .geoparquet) or GeoPackage (.gpkg), "
            f"got {str(path)!r}"
        )
    return writers[path.suffix.lower()]


def write_geoparquet(tables: Iterable[gpd.GeoDataFrame], path: Path, _: str) -> None:
    """Write tables of one form as row groups of a GeoParquet 1.1 file, each row with its bounds."""
    import pyarrow.parquet as pq

    writer = None
    try:
        for table in tables:
            group = _arrow_table(table)
            writer = writer or pq.ParquetWriter(path, group.schema, compression="zstd")
            writer.write_table(group.replace_schema_metadata(writer.schema.metadata))
    finally:
        if writer is not None:
            writer.close()


def _arrow_table(table: gpd.GeoDataFrame) -> Any:
    """Let GeoPandas encode a table, and take it for a part of a larger one."""
    import pyarrow.parquet as pq

    buffer = BytesIO()
    table.to_parquet(
        buffer, index=False, write_covering_bbox=True, schema_version="1.1.0", compression="none"
    )
    encoded = pq.read_table(buffer)
    about = json.loads(encoded.schema.metadata[b"geo"])
    # the bounds of all are not known yet, and need not be stated
    about["columns"]["geometry"].pop("bbox", None)
    about["columns"]["geometry"]["geometry_types"] = ["Polygon"]
    return encoded.replace_schema_metadata({b"geo": json.dumps(about).encode()})


def write_geopackage(tables: Iterable[gpd.GeoDataFrame], path: Path, layer: str) -> None:
    """Write tables of one form one after another into a layer of a GeoPackage."""
    import pyogrio

    for table in tables:
        pyogrio.write_dataframe(
            table,
            path,
            layer=layer,
            driver="GPKG",
            geometry_type="Polygon",
            append=path.exists(),
        )
