import dask
import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from mosaics import CODES, NODATA, TABLE, as_map, chunked_mosaics, noisy_codes
from peaks import last_line_of_child

import seg4eo_xr as seg
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas
from seg4eo_xr.scenes.resampling import Grid

SHAPE = 70, 60


@pytest.fixture(scope="module")
def prediction():
    return as_map(noisy_codes(3, SHAPE))


@pytest.fixture(scope="module")
def whole(prediction):
    with dask.config.set(scheduler="synchronous"):
        return seg.to_polygons(prediction)


def normalized(polygons):
    return shapely.normalize(polygons.geometry.to_numpy())


def assert_same(found, expected):
    columns = expected.columns.drop("geometry")
    assert found[columns].equals(expected[columns])
    np.testing.assert_array_equal(normalized(found), normalized(expected))
    assert found.crs == expected.crs


@settings(max_examples=25)
@given(chunked_mosaics(), st.integers(5, 40), st.sampled_from([1, 8]))
def test_any_chunks_and_tiles_give_the_polygons_of_the_whole_image(mosaic, tile_size, min_pixels):
    codes, chunks = mosaic
    prediction = as_map(codes)
    with dask.config.set(scheduler="synchronous"):
        expected = seg.to_polygons(prediction, min_pixels=min_pixels)
        lazy = prediction.chunk(dict(zip(("y", "x"), chunks, strict=True)))
        found = seg.to_polygons(lazy, tile_size=tile_size, min_pixels=min_pixels)
    assert_same(found, expected)


@settings(max_examples=15)
@given(chunked_mosaics(), st.integers(6, 30), st.sampled_from([1, 8]))
def test_simplified_polygons_share_their_borders_across_tiles(mosaic, tile_size, min_pixels):
    codes, chunks = mosaic
    options = seg.PolygonOptions(simplify=1.5, tile_size=tile_size, min_pixels=min_pixels)
    with dask.config.set(scheduler="synchronous"):
        expected = seg.to_polygons(as_map(codes), None, options)
        lazy = as_map(codes).chunk(dict(zip(("y", "x"), chunks, strict=True)))
        found = seg.to_polygons(lazy, None, options)
        exact = seg.to_polygons(as_map(codes), min_pixels=min_pixels)
    assert_same(found, expected)
    polygons = found.geometry.to_numpy()
    assert shapely.coverage_is_valid(polygons)
    assert shapely.is_valid(polygons).all()
    assert set(shapely.get_type_id(polygons)) <= {shapely.GeometryType.POLYGON}
    assert found["area_m2"].equals(exact["area_m2"])
    if NODATA not in codes:
        assert shapely.area(polygons).sum() == codes.size * 100


def test_outlines_are_those_that_rasterio_finds_in_the_whole_image(prediction, whole):
    codes = prediction["classes"]
    shapes = rasterio.features.shapes(
        codes.values, codes.values != NODATA, connectivity=4, transform=codes.rio.transform()
    )
    oracle = {shapely.normalize(shapely.geometry.shape(shape)).wkt: code for shape, code in shapes}
    found = dict(zip((p.wkt for p in normalized(whole)), whole["code"], strict=True))
    assert found == oracle


def test_attributes_are_those_of_the_pixels(prediction, whole):
    confidence = prediction["confidence"].values
    first = rasterio.features.rasterize(
        zip(whole.geometry, range(1, len(whole) + 1), strict=True),
        SHAPE,
        transform=prediction.rio.transform(),
        dtype=np.int32,
    )
    assert set(whole["code"]) == set(CODES)
    assert (whole["class"] == whole["code"].map(dict(zip(CODES, TABLE.names, strict=True)))).all()
    for row in whole.itertuples():
        pixels = first == row.Index + 1
        assert row.id == np.flatnonzero(pixels)[0]
        assert row.pixels == pixels.sum()
        assert row.confidence == pytest.approx(confidence[pixels].mean(dtype=np.float64), abs=1e-6)
    assert whole["id"].is_monotonic_increasing


def test_areas_are_those_on_the_ellipsoid():
    codes = np.ones((40, 3), np.uint8)
    prediction = as_map(codes, transform=Affine(0.5, 0, 10, 0, -0.5, 70), crs=4326)
    grid = Grid.of(prediction["classes"])
    rows, columns, areas = PixelAreas(grid).block((0, 40), (0, 3))
    expected = sum(areas[row, column] for row in rows for column in columns) / AREA_UNITS
    with dask.config.set(scheduler="synchronous"):
        found = seg.to_polygons(prediction, tile_size=16)
    assert found["area_m2"].item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", ["map.parquet", "map.gpkg"])
def test_a_file_holds_what_is_returned_in_memory(prediction, whole, tmp_path, name):
    lazy = prediction.chunk(y=30, x=25)
    path = seg.to_polygons(lazy, tmp_path / name, tile_size=20)
    read = gpd.read_parquet(path) if name.endswith("parquet") else gpd.read_file(path)
    assert_same(read.sort_values("id", ignore_index=True).astype(whole.dtypes), whole)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        seg.to_polygons(lazy, path)
    assert seg.to_polygons(lazy, path, overwrite=True) == path


def test_geoparquet_is_written_in_parts_with_bounds(prediction, tmp_path):
    path = seg.to_polygons(prediction, tmp_path / "map.parquet", tile_size=32)
    assert pq.ParquetFile(path).num_row_groups == 6
    left, bottom, right, top = prediction.rio.bounds()
    box = (left, bottom, (left + right) / 2, (bottom + top) / 2)
    part, everything = gpd.read_parquet(path, bbox=box), gpd.read_parquet(path)
    assert 0 < len(part) < len(everything)
    assert len(part) == everything.intersects(shapely.box(*box)).sum()


@pytest.mark.parametrize("name", [None, "map.parquet", "map.gpkg"])
def test_a_map_of_nodata_has_no_polygons(tmp_path, name):
    empty = as_map(np.full((20, 20), NODATA, np.uint8))
    found = seg.to_polygons(empty, name and tmp_path / name, tile_size=10)
    if name is not None:
        found = gpd.read_parquet(found) if name.endswith("parquet") else gpd.read_file(found)
    assert len(found) == 0
    assert {"code", "class", "area_m2", "confidence"} <= set(found.columns)
    assert found.crs == empty.rio.crs


def test_without_a_table_and_confidence_codes_are_the_names(prediction):
    codes = prediction["classes"].copy()
    codes.attrs = {"_FillValue": NODATA}
    found = seg.to_polygons(codes)
    assert set(found["class"]) == {f"class {code}" for code in CODES}
    assert "confidence" not in found


def test_maps_are_opened_by_path(prediction, whole, tmp_path):
    path = prediction.seg4eo.to_zarr(tmp_path / "map.zarr")
    assert_same(seg.to_polygons(path), whole)
    assert_same(seg.open_map(path).seg4eo.to_polygons(), whole)


def test_an_error_leaves_nothing_behind(prediction, tmp_path):
    codes = prediction["classes"].copy()
    codes[5, 5] = 77
    with pytest.raises(ValueError, match=r"class codes \[77\], which are not among its classes"):
        seg.to_polygons(codes, tmp_path / "map.parquet", tile_size=16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"min_pixels": 0}, "min_pixels must be 1 or more, got 0"),
        ({"simplify": -1.0}, "simplify must be 0 or more pixels, got -1.0"),
        ({"simplify": float("nan")}, "simplify must be 0 or more pixels, got nan"),
        ({"tile_size": 5000}, "tile_size must lie in 1..4096"),
    ],
)
def test_options_out_of_range_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        seg.PolygonOptions(**changes)


def test_what_cannot_be_written_or_located_is_refused(prediction, tmp_path):
    with pytest.raises(ValueError, match=r"GeoParquet \(.parquet, .geoparquet\) or GeoPackage"):
        seg.to_polygons(prediction, tmp_path / "map.shp")
    with pytest.raises(ValueError, match="has no CRS"):
        seg.to_polygons(prediction["classes"].drop_vars("spatial_ref"))
    scaled = prediction.assign(confidence=prediction["classes"])
    with pytest.raises(ValueError, match="layer 'confidence' holds uint8"):
        seg.to_polygons(scaled)


def test_a_cluster_gives_the_same_polygons(prediction, whole, tmp_path):
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"):
        path = seg.to_polygons(prediction.chunk(y=30), tmp_path / "map.parquet", tile_size=20)
        assert_same(seg.to_polygons(prediction.chunk(y=30), tile_size=20), whole)
    assert_same(gpd.read_parquet(path).sort_values("id", ignore_index=True), whole)


_MEASURED = """
import sys
import dask.array as da, numpy as np
import seg4eo_xr as seg
from affine import Affine
from harness import peak_megabytes
from mosaics import noisy_codes
from seg4eo_xr.scenes.grid import place

side, output = int(sys.argv[1]), sys.argv[2]
block = np.kron(noisy_codes(0, (128, 128), specks=0), np.ones((8, 8), np.uint8))
codes = da.map_blocks(
    lambda block_info=None: block, chunks=((1024,) * (side // 1024),) * 2, dtype=np.uint8,
    meta=np.empty((0, 0), np.uint8),
)
prediction = place(codes, 32633, Affine(10, 0, 0, 0, -10, 0)).rio.write_nodata(255)
seg.to_polygons(prediction, output, tile_size=1024, min_pixels=99)
print(peak_megabytes())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_map(tmp_path):
    peaks = []
    for side in (4096, 20480):
        line = last_line_of_child(_MEASURED, side, tmp_path / f"{side}.parquet")
        peaks.append(float(line))
    assert peaks[1] < 1.5 * peaks[0]
