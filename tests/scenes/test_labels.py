from __future__ import annotations

import pickle
from pathlib import Path

import dask
import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import chunkings, raising_scheduler, synthetic_sentinel2

DATA = Path(__file__).parents[3] / "shared" / "data"
real_data = pytest.mark.real_data
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real imagery is not there")

SCENE, LABELS = synthetic_sentinel2((60, 80), seed=1)
LEFT, TOP = SCENE.rio.transform().c, SCENE.rio.transform().f


def _square(row, col, side, **columns):
    x, y = LEFT + 10 * col, TOP - 10 * row
    return {"geometry": shapely.box(x, y - 10 * side, x + 10 * side, y), **columns}


def _features(*rows):
    return gpd.GeoDataFrame(list(rows), crs="EPSG:32633")


@pytest.fixture
def fields():
    return _features(
        _square(5, 5, 10, crop="wheat", code=7),
        _square(5, 20, 10, crop="maize", code=3),
        _square(30, 30, 20, crop="wheat", code=7),
        _square(40, 5, 8, crop=None, code=None),
    )


class TestRasters:
    def test_a_file_gives_back_the_labels(self, tmp_path):
        LABELS.rio.to_raster(tmp_path / "labels.tif", tiled=True, blockxsize=16, blockysize=16)
        opened = open_labels(tmp_path / "labels.tif", like=SCENE.chunk({"y": 25, "x": 80}))
        assert opened.chunks == ((25, 25, 10), (80,))
        assert (opened.name, opened.dtype, opened.dims) == ("labels", np.uint8, ("y", "x"))
        assert opened.rio.nodata == 255
        assert np.array_equal(opened, LABELS)
        assert opened.rio.transform() == SCENE.rio.transform()

    def test_class_tables_are_kept(self):
        assert open_labels(LABELS, like=SCENE).identical(LABELS)

    def test_opening_reads_nothing(self, tmp_path):
        LABELS.astype("int32").rio.to_raster(tmp_path / "labels.tif")
        with dask.config.set(scheduler=raising_scheduler):
            open_labels(tmp_path / "labels.tif", like=SCENE.chunk())

    @pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint16", "float32", "float64"])
    def test_whole_numbers_of_any_dtype_become_int16(self, dtype):
        codes = LABELS.where(LABELS != 255, 0).astype(dtype).rio.write_nodata(0)
        opened = open_labels(codes)
        assert opened.dtype == np.int16
        assert np.array_equal(opened, LABELS)

    def test_nodata_and_nan_are_ignored(self):
        codes = LABELS.where(LABELS != 3).rio.write_nodata(1)
        expected = LABELS.where((LABELS != 3) & (LABELS != 1), 200)
        opened = open_labels(codes, ignore=200)
        assert opened.rio.nodata == 200
        assert np.array_equal(opened, expected)

    def test_codes_must_be_whole_and_short(self):
        with pytest.raises(ValueError, match="fractions such as"):
            open_labels(LABELS + 0.5).compute()
        with pytest.raises(ValueError, match=r"100255.*renumber"):
            open_labels((LABELS.astype("int32") + 100000).chunk()).compute()

    def test_labels_are_one_band(self):
        with pytest.raises(ValueError, match=r"10 bands.*swapped"):
            open_labels(SCENE)
        assert open_labels(SCENE[:1]).shape == (60, 80)

    @pytest.mark.parametrize(
        ("other", "word"),
        [
            (LABELS[1:], "different shapes"),
            (LABELS.rio.write_crs("EPSG:32634"), "different CRSs"),
            (LABELS.assign_coords(x=LABELS.x + 3), "different transforms"),
        ],
    )
    def test_grids_must_agree(self, other, word, tmp_path):
        with pytest.raises(ValueError, match=rf"{word}.*the scene is 60 × 80 px"):
            open_labels(other, like=SCENE)
        with pytest.raises(ValueError, match="no CRS"):
            open_labels(other.drop_vars("spatial_ref"))


class TestVectors:
    @given(chunkings(60), chunkings(80), st.integers(0, 2**32 - 1))
    @settings(max_examples=20, deadline=None)
    def test_labels_do_not_depend_on_chunks(self, rows, cols, seed):
        draw = np.random.default_rng(seed)
        shapes = [
            shapely.Point(LEFT + 800 * x, TOP - 600 * y).buffer(20 + 150 * r, quad_segs=3)
            for x, y, r in draw.random((12, 3))
        ]
        codes = draw.integers(1, 9, 12)
        features = gpd.GeoDataFrame({"code": codes}, geometry=shapes, crs="EPSG:32633")
        scene = SCENE.chunk({"band": -1, "y": rows, "x": cols})
        labels = open_labels(features, like=scene, column="code")
        assert labels.chunks == (rows, cols)
        whole = rasterize(
            zip(shapes, codes.tolist(), strict=True),
            out_shape=(60, 80),
            fill=255,
            transform=SCENE.rio.transform(),
            dtype="uint8",
        )
        assert np.array_equal(labels.compute(scheduler="sync"), whole)

    def test_inside_and_outside(self, fields):
        labels = open_labels(fields, like=SCENE)
        assert ClassTable.from_attrs(labels.attrs).codes == (0, 1)
        assert (labels == 1).sum() == 100 + 100 + 400 + 64
        assert (labels == 0).sum() == 60 * 80 - 664
        assert (labels[5:15, 5:15] == 1).all()

    def test_a_column_of_codes(self, fields):
        labels = open_labels(fields, like=SCENE, column="code")
        assert np.unique(labels).tolist() == [3, 7, 255]
        assert (labels == 7).sum() == 500
        assert ClassTable.from_attrs(labels.attrs).codes == (3, 7)
        assert labels.rio.nodata == 255

    def test_a_column_of_names(self, fields):
        labels = open_labels(fields, like=SCENE, column="crop", background=0)
        table = ClassTable.from_attrs(labels.attrs)
        assert (table.codes, table.names) == ((0, 1, 2), ("background", "maize", "wheat"))
        assert (labels == 2).sum() == 500
        # features whose class is unknown are unlabelled, not background
        assert (labels == 255).sum() == 64

    def test_later_features_lie_on_top(self):
        two = _features(_square(0, 0, 20, code=1), _square(0, 0, 10, code=2))
        labels = open_labels(two, like=SCENE, column="code")
        assert (labels == 2).sum() == 100

    def test_codes_beyond_a_byte_take_two(self, fields):
        labels = open_labels(fields.assign(code=[300, -2, 300, 1]), like=SCENE, column="code")
        assert labels.dtype == np.int16
        assert np.unique(labels).tolist() == [-2, 1, 255, 300]
        with pytest.raises(ValueError, match="16 bits"):
            open_labels(fields.assign(code=70000), like=SCENE, column="code")

    @pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "parquet", "fgb"])
    @pytest.mark.filterwarnings("ignore:.*GeoDataFrame.*:FutureWarning")
    def test_files_of_any_kind_and_crs(self, fields, tmp_path, suffix):
        path = tmp_path / f"fields.{suffix}"
        away = fields.to_crs("EPSG:4326")
        away.to_parquet(path) if suffix == "parquet" else away.to_file(path)
        labels = open_labels(path, like=SCENE.chunk({"y": 17}), column="crop")
        assert np.array_equal(labels, open_labels(fields, like=SCENE, column="crop"))
        inside = open_labels(path, like=SCENE)
        assert ClassTable.from_attrs(inside.attrs).names == ("background", "fields")

    def test_nothing_is_burned_before_it_is_asked_for(self, fields):
        scene = SCENE.chunk({"y": 10, "x": 10})
        with dask.config.set(scheduler=raising_scheduler):
            labels = open_labels(fields, like=scene)
        keys = [key for key in labels.__dask_graph__() if str(key).startswith("shapes-")]
        assert len(keys) == 1
        assert labels.data.name == open_labels(fields, like=scene).data.name
        assert pickle.loads(pickle.dumps(labels)).identical(labels.compute())

    def test_what_cannot_be_burned_is_refused(self, fields, tmp_path):
        with pytest.raises(ValueError, match="like="):
            open_labels(fields)
        with pytest.raises(ValueError, match=r"no column 'kind'.*'crop', 'code'"):
            open_labels(fields, like=SCENE, column="kind")
        with pytest.raises(ValueError, match=r"no CRS.*set_crs"):
            open_labels(fields.set_crs(None, allow_override=True), like=SCENE)
        with pytest.raises(ValueError, match=r"(?s)do not overlap.*EPSG:32633"):
            open_labels(fields.translate(1e5).to_frame("geometry"), like=SCENE)
        with pytest.raises(ValueError, match="no geometry"):
            open_labels(fields.iloc[:0], like=SCENE)
        with pytest.raises(ValueError, match="fractions"):
            open_labels(fields.assign(code=1.5), like=SCENE, column="code")
        with pytest.raises(ValueError, match="missing values"):
            open_labels(fields.iloc[3:], like=SCENE, column="crop")
        with pytest.raises(TypeError, match="list"):
            open_labels([1, 2])

    def test_files_that_cannot_be_read_are_refused(self, fields, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.gpkg"):
            open_labels(tmp_path / "none.gpkg", like=SCENE)
        for name in ("text.gpkg", "text.parquet"):
            (tmp_path / name).write_text("no vector at all")
            with pytest.raises(OSError, match=rf"{name}.*vector data"):
                open_labels(tmp_path / name, like=SCENE)
        fields.to_file(tmp_path / "fields.gpkg", layer="fields")
        with pytest.raises(OSError, match=r"fields\.gpkg.*wheat"):
            open_labels(tmp_path / "fields.gpkg", like=SCENE, layer="wheat")


@real_data
@needs_data
@pytest.mark.parametrize("chunks", [700, "auto"])
def test_real_buildings_equal_their_mask(chunks):
    folder = DATA / "kampala_oam_buildings"
    scene = open_scene(folder / "kampala_rgb.tif", chunks=chunks)
    burned = open_labels(folder / "buildings.geojson", like=scene)
    mask = open_labels(folder / "kampala_buildings_mask.tif", like=scene)
    assert burned.chunks == mask.chunks == scene.chunks[1:]
    assert np.array_equal(burned, mask)


@real_data
@needs_data
def test_real_labels_of_another_crs_are_refused():
    folder = DATA / "lataseno_s2_clc"
    scene = open_scene(folder / "s2_lataseno_ex.tif")
    with pytest.raises(ValueError, match=r"EPSG:3067.*EPSG:25835"):
        open_labels(folder / "clc_2018_lataseno.tif", like=scene)
