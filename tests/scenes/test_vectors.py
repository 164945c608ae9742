from __future__ import annotations

import geopandas as gpd
import pytest
import shapely

from seg4eo_xr.scenes.vectors import read_vector


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.gpkg"):
        read_vector(tmp_path / "none.gpkg")
    for name in ("text.gpkg", "text.parquet"):
        (tmp_path / name).write_text("no vector at all")
        with pytest.raises(OSError, match=rf"{name}.*vector data"):
            read_vector(tmp_path / name)
    fields = gpd.GeoDataFrame({"crop": ["rye"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=32633)
    fields.to_file(tmp_path / "fields.gpkg", layer="fields")
    with pytest.raises(OSError, match=r"fields\.gpkg.*wheat.*\(--layer\)"):
        read_vector(tmp_path / "fields.gpkg", layer="wheat")
    fields.drop(columns="geometry").to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(ValueError, match=r"table\.csv.*table without geometries.*ogr2ogr"):
        read_vector(tmp_path / "table.csv")
