"""What counts as unlabelled in a reference, and what the words are where nothing is left."""

from __future__ import annotations

import json
import warnings

import geopandas as gpd
import numpy as np
import pytest

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing import synthetic_sentinel2

_, LABELS = synthetic_sentinel2((48, 64), nodata_wedge=False)
CODES = LABELS.values.astype(np.int64)
MASK = np.where(CODES > 3, 255, 0)
FOREGROUND = int((MASK == 255).sum())


def raster(codes, dtype="uint8", nodata=None):
    array = place(codes.astype(dtype), LABELS.rio.crs, LABELS.rio.transform())
    return array if nodata is None else array.rio.write_nodata(nodata)


@pytest.fixture(params=["file", "array"])
def given(request, tmp_path):
    def make(codes, *about, name="reference"):
        array = raster(codes, *about)
        if request.param == "array":
            return array
        array.rio.to_raster(tmp_path / f"{name}.tif")
        return tmp_path / f"{name}.tif"

    return make


class TestClass255:
    def test_a_map_of_background_does_not_pass(self, given):
        reference = given(MASK)
        with pytest.warns(seg.LabelWarning, match=f"255 in {FOREGROUND:,} of") as caught:
            found = seg.evaluate(raster(MASK * 0, "uint8", 99), reference)
        assert found.classes.codes == (0, 255)
        assert found.matrix.tolist() == [[CODES.size - FOREGROUND, 0], [FOREGROUND, 0]]
        assert len([w for w in caught if w.category is seg.LabelWarning]) == 1

    def test_a_map_that_has_it_says_so(self, given):
        mapped = raster(MASK, "uint8", 99).assign_attrs(
            seg.ClassTable.from_codes([0, 255]).to_attrs()
        )
        found = seg.evaluate(mapped, given(MASK))
        assert found.matrix.tolist() == [[CODES.size - FOREGROUND, 0], [0, FOREGROUND]]

    def test_many_references_are_warned_of_once(self):
        background, reference = raster(MASK * 0, "uint8", 99), raster(MASK)
        count = f"255 in {2 * FOREGROUND:,} of"
        with pytest.warns(seg.LabelWarning, match=count) as caught:
            seg.evaluate([background, background], [reference, reference])
        assert len([w for w in caught if w.category is seg.LabelWarning]) == 1

    def test_the_user_says_which_it_is(self, given):
        background, reference = raster(MASK * 0, "uint8", 99), given(MASK)
        assert seg.evaluate(background, reference, ignore=255).matrix.tolist() == [
            [CODES.size - FOREGROUND]
        ]
        table = seg.ClassTable.from_codes([0, 255])
        found = seg.evaluate(background, reference, classes=table)
        assert found.matrix.sum() == CODES.size

    def test_next_to_another_nodata_value(self, given):
        codes = np.select([CODES == 1, CODES == 4], [-9999, 255], CODES)
        found = seg.evaluate(raster(codes, "int16", -9999), given(codes, "int16", -9999))
        assert found.per_class["class 255"]["iou"] == 1
        assert found.pixels == (CODES != 1).sum()

    def test_negative_codes_that_the_map_names_are_classes(self, given):
        codes = np.where(CODES == 1, -7, CODES)
        table = seg.ClassTable.from_codes(np.unique(codes).tolist())
        mapped = raster(codes, "int16", -9999).assign_attrs(table.to_attrs())
        assert seg.evaluate(mapped, given(codes, "int16", -9999)).accuracy == 1

    def test_of_lazy_references_it_is_told_in_the_end(self):
        background, lazy = raster(MASK * 0, "uint8", 99), raster(MASK).chunk(16)
        with pytest.warns(seg.LabelWarning, match=rf"255 in {FOREGROUND:,} of 3,072.*--ignore 255"):
            seg.evaluate(background, lazy)
        prediction = background.to_dataset(name="classes")
        prediction["confidence"] = background.astype("float32").drop_attrs() + 0.5
        with pytest.warns(seg.LabelWarning, match=f"255 in {FOREGROUND:,} of 3,072"):
            seg.reliability(prediction, lazy)

    def test_of_points(self):
        xs, ys = (LABELS[name].values[[3, 9, 20]] for name in ("x", "y"))
        points = gpd.GeoDataFrame(
            {"code": [255, 3, None]}, geometry=gpd.points_from_xy(xs, ys), crs=LABELS.rio.crs
        )
        found = seg.evaluate(raster(np.full_like(CODES, 3), "uint8", 99), points, column="code")
        assert found.classes.codes == (3, 255)
        assert found.points.compared == 2
        assert found.matrix.tolist() == [[1, 0], [1, 0]]


def test_negative_codes_next_to_a_nodata_value_are_told():
    codes = np.select([CODES == 1, CODES == 2], [-9999, -1], CODES)
    count = int((CODES == 2).sum())
    with pytest.warns(seg.LabelWarning, match=rf"-1 in {count} of.*--unlabelled -1\)"):
        seg.evaluate(raster(codes, "int16", -9999), raster(codes, "int16", -9999))
    seg.evaluate(raster(codes, "int16", -9999), raster(codes, "int16", -9999), unlabelled=(-1,))


@pytest.mark.parametrize("judge", ["evaluate", "reliability"])
def test_a_reference_without_any_label_is_told(given, judge):
    layer = raster(np.ones_like(CODES), "uint8", 255)
    prediction = layer.to_dataset(name="classes")
    prediction["confidence"] = layer.astype("float32").drop_attrs()
    reference = given(np.full_like(CODES, -1), "int16")
    with pytest.raises(ValueError, match=r"the reference has no labelled pixel.*--unlabelled"):
        getattr(seg, judge)(prediction, reference, unlabelled=(-1,))
    empty = prediction.copy(deep=True)
    empty["classes"][:] = 255
    with pytest.raises(ValueError, match="wherever the reference has a class, the map is nodata"):
        getattr(seg, judge)(empty, raster(CODES))


def test_the_command_line_takes_the_classes_as_codes(tmp_path):
    raster(MASK * 0, "uint8", 99).rio.to_raster(tmp_path / "map.tif")
    raster(MASK).rio.to_raster(tmp_path / "mask.tif")
    words = ["evaluate", "--prediction", f"{tmp_path}/map.tif", "--output", f"{tmp_path}/e.json"]
    words += ["--reference", f"{tmp_path}/mask.tif", "--classes", "0", "255"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", seg.LabelWarning)
        assert main(words) == 0
    report = json.loads((tmp_path / "e.json").read_text())
    assert report["confusion_matrix"] == [[CODES.size - FOREGROUND, 0], [FOREGROUND, 0]]


def test_names_that_other_tools_give_to_codes_of_a_map_count(tmp_path, capsys):
    names = ["water", "forest", "crops"]
    codes = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % 3
    grid = synthetic_sentinel2((32, 32))[1].rio.write_nodata(255)
    plain = grid.copy(data=codes).drop_attrs(deep=False)
    plain.rio.to_raster(tmp_path / "map.tif")
    listed = "".join(f"<Category>{name}</Category>" for name in names)
    (tmp_path / "map.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames>"
        f"{listed}</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    # The reference has the same codes, but of other classes.
    turned = seg.ClassTable.from_codes([0, 1, 2], ["Crops", "Water", "Forest"])
    reference = grid.copy(data=(codes + 1) % 3).assign_attrs(turned.to_attrs())
    seg.write_cog(reference.to_dataset(name="classes"), tmp_path / "reference.tif")
    files = tmp_path / "map.tif", tmp_path / "reference.tif"
    found = seg.evaluate(*files)
    assert found.accuracy == 1
    assert list(found.classes.names) == names
    assert seg.map_change(*files).changed == 0
    assert list(seg.map_statistics(files[0]).classes.names) == names
    line = ["--prediction", str(files[0]), "--reference", str(files[1]), "--json", "--quiet"]
    assert main(["evaluate", *line]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1
