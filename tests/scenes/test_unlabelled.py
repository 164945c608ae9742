"""Missing in labels is what the file or the user says is missing; 255 can be a class."""

from __future__ import annotations

import warnings
from itertools import pairwise

import dask
import geopandas as gpd
import numpy as np
import pytest
import shapely

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.unlabelled import CodeCounts, count_codes, free_code
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

SCENE, LABELS = synthetic_sentinel2((48, 64), nodata_wedge=False)
PLAIN = LABELS.drop_attrs(deep=False)
CODES = PLAIN.values.astype(np.float64)


def raster(codes, dtype=np.uint8, nodata=None):
    labels = PLAIN.copy(data=codes.astype(dtype))
    return labels if nodata is None else labels.rio.write_nodata(nodata)


MASK = raster(np.where(CODES > 2, 255, 0))
FOREGROUND = int((MASK == 255).sum())
WAYS_OUT = r"\(--ignore 255\).*\(--classes 0 255\)"


@pytest.fixture(params=["file", "zarr", "array"])
def given(request, tmp_path):
    """Hand labels over as a file, a Zarr store or an array in memory."""

    def make(labels):
        if request.param == "array":
            return labels
        if request.param == "zarr":
            dataset = labels.to_dataset(name="labels")
            if labels.rio.nodata is None:
                dataset["labels"].encoding["_FillValue"] = None
            dataset.to_zarr(tmp_path / "labels.zarr", zarr_format=2)
            return tmp_path / "labels.zarr"
        labels.rio.to_raster(tmp_path / "labels.tif")
        return tmp_path / "labels.tif"

    return make


class TestRastersWithoutNodata:
    def test_a_mask_of_0_and_255_keeps_its_foreground_and_says_so(self, given):
        source = given(MASK)
        share = rf"255 in {FOREGROUND:,} of 3,072 pixels \(.* %\).*{WAYS_OUT}"
        with pytest.warns(LabelWarning, match=share) as caught:
            labels = open_labels(source, like=SCENE)
        assert [w.filename for w in caught if w.category is LabelWarning] == [__file__]
        assert labels.dtype == np.uint8
        assert (labels.rio.nodata, np.unique(labels).tolist()) == (254, [0, 255])

    def test_255_has_no_label_where_the_user_says_so(self, given):
        source = given(MASK)
        for options in ({"ignore": 255}, {"unlabelled": (255,)}):
            labels = open_labels(source, like=SCENE, **options)
            assert labels.rio.nodata == 255
            assert np.array_equal(labels, MASK)

    def test_255_is_a_class_without_a_word_where_the_user_lists_it(self, given):
        labels = open_labels(given(MASK), like=SCENE, classes=ClassTable.from_codes([0, 255]))
        assert labels.rio.nodata == 254
        assert ClassTable.from_attrs(labels.attrs).codes == (0, 255)
        assert (labels == 255).sum() == FOREGROUND

    def test_255_is_refused_where_the_user_lists_other_classes(self, given):
        with pytest.raises(ValueError, match=r"class codes \[255\].*--unlabelled"):
            open_labels(given(MASK), like=SCENE, classes=ClassTable.from_codes([0, 1])).compute()

    def test_255_is_a_class_of_the_attributes(self):
        named = MASK.assign_attrs(ClassTable.from_codes([0, 255], ["land", "water"]).to_attrs())
        labels = open_labels(named)
        assert labels.rio.nodata == 254
        assert ClassTable.from_attrs(labels.attrs).names == ("land", "water")

    @pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32"])
    def test_of_wider_numbers_too(self, given, dtype):
        source = given(raster(np.where(CODES == 1, 300, np.where(CODES > 2, 255, 0)), dtype))
        with pytest.warns(LabelWarning, match="hold 255 in"):
            labels = open_labels(source, like=SCENE)
        assert labels.rio.nodata == -32768
        assert np.unique(labels).tolist() == [0, 255, 300]

    def test_labels_without_255_are_as_they_were(self, given):
        labels = open_labels(given(PLAIN), like=SCENE)
        assert (labels.rio.nodata, labels.dtype) == (255, np.uint8)
        assert np.array_equal(labels, PLAIN)

    def test_only_the_part_on_the_scene_counts(self):
        cornered = PLAIN.copy(data=CODES.copy())
        cornered[:10, :10] = 255
        assert open_labels(cornered, like=SCENE[:, 10:]).rio.nodata == 255

    def test_lazy_arrays_are_not_read(self):
        with dask.config.set(scheduler=raising_scheduler):
            labels = open_labels(MASK.chunk(16), like=SCENE)
        assert labels.rio.nodata == 255

    def test_a_lazy_array_never_mixes_a_class_255_with_what_the_user_leaves_out(self):
        lazy = raster(np.where(CODES == 1, 7, MASK.values)).chunk(16)
        with pytest.raises(ValueError, match=r"code 255.*\(--ignore 255\).*--classes"):
            open_labels(lazy, unlabelled=(7,)).load()
        labels = open_labels(lazy, unlabelled=(7,), ignore=255)
        assert (labels == 255).sum() == ((lazy == 255) | (lazy == 7)).sum()

    @pytest.mark.parametrize("code", [-1, -9999])
    def test_negative_codes_are_told_with_their_share(self, given, code):
        source = given(raster(np.where(CODES == 1, code, CODES), "int16"))
        count = int((CODES == 1).sum())
        with pytest.warns(LabelWarning, match=rf"{code} in {count:,} of.*--unlabelled {code}\)"):
            labels = open_labels(source, like=SCENE)
        assert (labels == code).sum() == count
        quiet = open_labels(source, like=SCENE, unlabelled=(code,))
        assert (quiet == quiet.rio.nodata).sum() == count


class TestRastersWithNodata:
    @pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
    def test_class_255_stays(self, given, dtype):
        codes = np.select([CODES == 2, CODES == 1], [255, -9999], CODES)
        labels = open_labels(given(raster(codes, dtype, -9999)), like=SCENE)
        assert (labels.rio.nodata, labels.dtype) == (-9999, np.int16)
        assert np.array_equal(labels, codes)

    def test_class_255_of_bytes_stays(self, given):
        labels = open_labels(given(raster(MASK.values, nodata=0)), like=SCENE)
        assert (labels.rio.nodata, labels.dtype) == (0, np.uint8)
        assert np.array_equal(labels, MASK)

    @pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 65535), ("float64", np.nan)])
    def test_a_nodata_value_that_is_no_code_is_free_of_the_classes(self, given, dtype, nodata):
        codes = np.select([CODES == 2, CODES == 1], [255, nodata], CODES)
        labels = open_labels(given(raster(codes, dtype, nodata)), like=SCENE)
        assert labels.rio.nodata == -32768
        assert (labels == -32768).sum() == (CODES == 1).sum()
        assert (labels == 255).sum() == (CODES == 2).sum()


class TestVectors:
    @pytest.fixture
    def squares(self):
        left, bottom, right, top = SCENE.rio.bounds()
        sides = np.linspace(left, right, 4)
        boxes = [shapely.box(a, bottom, b, top) for a, b in pairwise(sides)]
        return gpd.GeoDataFrame({"code": [111, 255, 311]}, geometry=boxes, crs=SCENE.rio.crs)

    def test_class_255_of_a_column_stays(self, squares):
        labels = open_labels(squares, like=SCENE, column="code")
        assert ClassTable.from_attrs(labels.attrs).codes == (111, 255, 311)
        assert labels.rio.nodata == -32768
        assert set(np.unique(labels)) == {111, 255, 311}

    def test_the_code_is_free_of_the_background(self, squares):
        labels = open_labels(squares.iloc[:1], like=SCENE, column="code", background=255)
        assert labels.rio.nodata == 254
        assert set(np.unique(labels)) == {111, 255}

    def test_255_names_keep_their_last(self, squares):
        table = ClassTable.from_codes(range(1, 256))
        labels = open_labels(squares[1:2], like=SCENE, column="code", classes=table)
        assert labels.rio.nodata == -32768
        assert (labels == 255).any()


def test_a_class_that_is_the_nodata_value_of_the_file_is_told(given):
    marked = given(raster(CODES > 2, nodata=0))
    names = ClassTable.from_codes([0, 1], ["Background", "road"])
    with pytest.warns(LabelWarning, match=r"code 0 \('Background'\).*nodata.*-unsetnodata"):
        labels = open_labels(marked, classes=names)
    assert set(np.unique(labels)) == {labels.rio.nodata, 1}
    # said by the user, or by the table itself
    open_labels(marked, classes=names, unlabelled=(0,))
    open_labels(marked, classes=ClassTable.from_codes([0, 1], ["No data", "road"]))


def test_codes_are_counted_whatever_holds_them():
    codes = np.array([[0, 255, 255], [7, 255, 0]])
    for dtype in ("uint8", "int16", "float32"):
        assert CodeCounts.of(codes.astype(dtype)).pixels == {0: 2, 7: 1, 255: 3}
    odd = CodeCounts.of(np.array([np.nan, 0.5, 1e9, -9999, 3]))
    assert (odd.pixels, odd.total) == ({-9999: 1, 3: 1}, 5)


def test_of_very_large_labels_a_part_is_counted(monkeypatch, tmp_path):
    MASK.rio.to_raster(tmp_path / "mask.tif", tiled=True, blockxsize=16, blockysize=16)
    monkeypatch.setattr("seg4eo_xr.scenes.unlabelled._MOST_PIXELS", 512)
    monkeypatch.setattr("seg4eo_xr.scenes.rasters._CHUNK_SIDE", 16)
    counts = count_codes(MASK.chunk(16).data)
    assert (counts.total, counts.complete) == (512, False)
    with pytest.warns(LabelWarning, match="in about"):
        labels = open_labels(tmp_path / "mask.tif", like=SCENE)
    assert labels.rio.nodata == -32768
    assert (labels == 255).sum() == FOREGROUND


def test_codes_of_no_class():
    assert free_code([]) == 255
    assert free_code([0, 254, 255]) == 253
    assert free_code(range(256)) == -32768
    assert free_code([300]) == 255
    assert free_code([300, 255, -32768]) == -32767


def test_labels_that_were_opened_are_opened_again_without_a_word(given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = open_labels(given(MASK), like=SCENE)
    assert open_labels(labels, like=SCENE).identical(labels)
