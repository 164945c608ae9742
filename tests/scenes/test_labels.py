from __future__ import annotations

import pickle
import re
from pathlib import Path

import dask
import geopandas as gpd
import numpy as np
import pytest
import shapely

from seg4eo_xr.scenes.class_files import write_classes
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

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
        assert opened.rio.nodata == 0
        assert np.array_equal(opened.where(opened != 0, 255), LABELS)

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

    def test_a_raster_has_no_column(self, tmp_path):
        LABELS.rio.to_raster(tmp_path / "labels.tif")
        with pytest.raises(ValueError, match=r"column.*labels\.tif' is a raster: leave"):
            open_labels(tmp_path / "labels.tif", like=SCENE, column="class")
        with pytest.raises(FileNotFoundError, match=r"label raster .*none\.tif' does not exist"):
            open_labels(tmp_path / "none.tif", like=SCENE)

    def test_labels_are_one_band(self):
        with pytest.raises(ValueError, match=r"10 bands.*swapped"):
            open_labels(SCENE)
        assert open_labels(SCENE[:1]).shape == (60, 80)

    @pytest.mark.parametrize(
        ("other", "word"),
        [
            (LABELS[1:], "different shapes"),
            (LABELS.rio.write_crs("EPSG:25833"), "different CRSs"),
            (LABELS.assign_coords(x=LABELS.x + 3), "different transforms"),
        ],
    )
    def test_grids_must_agree(self, other, word):
        with pytest.raises(
            ValueError, match=rf"{word}.*the scene is 60 × 80 px.*warp=True \(--warp\)"
        ):
            open_labels(other, like=SCENE)
        with pytest.raises(ValueError, match="no CRS"):
            open_labels(other.drop_vars("spatial_ref"))

    @pytest.mark.parametrize("warp", [False, True])
    def test_labels_that_cover_more_are_cut(self, warp):
        part = SCENE[:, 10:40, 20:]
        labels = open_labels(LABELS, like=part, warp=warp)
        assert labels.rio.transform() == part.rio.transform(recalc=True)
        assert np.array_equal(labels, LABELS[10:40, 20:])


class TestVectors:
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

    def test_what_cannot_be_burned_is_refused(self, fields):
        with pytest.raises(ValueError, match="like="):
            open_labels(fields)
        with pytest.raises(ValueError, match=r"no column 'kind'.*'crop', 'code'"):
            open_labels(fields, like=SCENE, column="kind")
        with pytest.raises(ValueError, match=r"no CRS.*set_crs"):
            open_labels(fields.set_crs(None, allow_override=True), like=SCENE)
        with pytest.raises(ValueError, match=r"(?s)do not overlap.*EPSG:32633"):
            open_labels(fields.translate(1e5).to_frame("geometry"), like=SCENE)
        with pytest.raises(ValueError, match=r"no geometry.*\(--layer\)"):
            open_labels(fields.iloc[:0], like=SCENE)
        with pytest.raises(ValueError, match="fractions"):
            open_labels(fields.assign(code=1.5), like=SCENE, column="code")
        with pytest.raises(ValueError, match="missing values"):
            open_labels(fields.iloc[3:], like=SCENE, column="crop")
        with pytest.raises(TypeError, match="list"):
            open_labels([1, 2])


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


class TestClasses:
    def test_codes_without_a_label_leave_the_labels_and_the_table(self):
        labels = open_labels(LABELS, like=SCENE, unlabelled=(0, 2))
        assert np.array_equal(labels, LABELS.where(~LABELS.isin([0, 2]), 255))
        assert set(ClassTable.from_attrs(labels.attrs).codes).isdisjoint({0, 2})

    def test_names_without_a_label_leave_them_too(self):
        table = ClassTable.from_attrs(LABELS.attrs)
        expected = open_labels(LABELS, like=SCENE, unlabelled=(table.codes[1],))
        for source, classes in ((LABELS, None), (LABELS.drop_attrs(deep=False), table)):
            given = {"like": SCENE, "classes": classes, "unlabelled": (table.names[1],)}
            given["ignore"] = 255
            assert np.array_equal(open_labels(source, **given), expected)
        with pytest.raises(ValueError, match=r"\(--unlabelled\) names \['fog'\].*no class table"):
            open_labels(LABELS.drop_attrs(deep=False), unlabelled=("fog",))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
    def test_codes_outside_a_given_table_are_named(self, dtype):
        codes = LABELS.where(LABELS != 1, 7).astype(dtype)
        if dtype == np.int16:
            codes = codes.where(codes != 2, -4).astype(dtype)
        found = sorted({int(code) for code in np.unique(codes)} - {0, 255, 3, 4, 5})
        table = ClassTable.from_codes([0, 3, 4, 5])
        lazy = open_labels(codes.chunk(20), like=SCENE, classes=table)
        with pytest.raises(ValueError, match=re.escape(f"class codes {found[:1]}"[:-1])):
            lazy.compute()
        unlabelled = open_labels(codes, like=SCENE, classes=table, unlabelled=tuple(found))
        assert ClassTable.from_attrs(unlabelled.attrs) == table

    def test_a_table_of_wide_codes_widens_the_labels(self):
        labels = open_labels(LABELS, like=SCENE, classes=ClassTable.from_codes([*range(9), 300]))
        assert labels.dtype == np.int16
        assert np.array_equal(labels, LABELS)

    def test_a_file_of_classes_names_them(self, tmp_path):
        table = ClassTable.from_codes(range(9), [f"cover {i}" for i in range(9)])
        write_classes(table, tmp_path / "classes.csv")
        with pytest.warns(LabelWarning, match=r"new names: .*2 is 'forest' and 'cover 2'"):
            labels = open_labels(LABELS, like=SCENE, classes=tmp_path / "classes.csv")
        assert ClassTable.from_attrs(labels.attrs) == table

    def test_category_names_of_a_file_become_its_classes(self, tmp_path):
        path = tmp_path / "labels.tif"
        LABELS.drop_attrs(deep=False).rio.write_nodata(255).rio.to_raster(path)
        assert ClassTable.from_attrs(open_labels(path).attrs) is None
        names = "".join(f"<Category>cover {i}</Category>" for i in range(6))
        path.with_suffix(".tif.aux.xml").write_text(
            f"<PAMDataset><PAMRasterBand band='1'><CategoryNames>{names}</CategoryNames>"
            "</PAMRasterBand></PAMDataset>"
        )
        table = ClassTable.from_attrs(open_labels(path, unlabelled=(0,)).attrs)
        assert table.codes == (1, 2, 3, 4, 5)
        assert table.names[0] == "cover 1"


class TestBorders:
    @pytest.mark.parametrize("chunks", [None, 7, 64])
    def test_rasters_and_vectors_lose_their_borders_alike(self, fields, chunks):
        scene = SCENE if chunks is None else SCENE.chunk(chunks)
        burned = open_labels(fields, like=scene, column="code", background=0)
        thinned = open_labels(fields, like=scene, column="code", background=0, ignore_border=2)
        assert thinned.chunks == burned.chunks
        again = open_labels(burned, like=scene, ignore_border=2)
        assert np.array_equal(thinned, again)
        # a field of 10 × 10 px keeps 6 × 6, and the land around loses 14 × 14
        assert (thinned[3:17, 3:17] != 255).sum() == 36
        assert (thinned == 3).sum() == 36


def test_metres_called_degrees_are_told(fields):
    metres = LABELS.drop_vars("spatial_ref").rio.write_crs("EPSG:4326")
    for warp in (False, True):
        with pytest.raises(ValueError, match=r"EPSG:4326.*degrees.*look like metres"):
            open_labels(metres, like=SCENE, warp=warp)
    with pytest.raises(ValueError, match=r"EPSG:4326.*look like metres.*set_crs"):
        open_labels(fields.set_crs("EPSG:4326", allow_override=True), like=SCENE)
    with pytest.raises(ValueError, match=r"the scene claim.*look like metres"):
        open_labels(fields, like=SCENE.drop_vars("spatial_ref").rio.write_crs("EPSG:4326"))


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match=r"colum.*did you mean 'column'"):
        open_labels(LABELS, colum="class")
