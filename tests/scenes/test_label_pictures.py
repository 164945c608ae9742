"""Laws of labels that are pictures: a colour of the class table is its class."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import rioxarray

import seg4eo_xr as seg
from seg4eo_xr.cli.main import main
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2

SCENE, LABELS = synthetic_sentinel2((64, 64), nodata_wedge=False)
CODES = LABELS.values
TABLE = seg.ClassTable.from_attrs(LABELS.attrs)


def write(path, nodata=None, codes=CODES):
    """A picture of the labels in the colours of their table; other codes are black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[list(TABLE.codes)] = TABLE.rgb()
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 3, "dtype": "uint8"}
    profile |= {"crs": SCENE.rio.crs, "transform": SCENE.rio.transform(), "nodata": nodata}
    with rasterio.open(path, "w", photometric="RGB", **profile) as file:
        file.write(np.moveaxis(colors[codes], -1, 0))
    return path


def test_colours_of_the_table_are_its_classes(tmp_path):
    path = write(tmp_path / "picture.tif")
    for like in (SCENE, SCENE.chunk(20)):
        labels = seg.open_labels(path, like=like, classes=TABLE)
        np.testing.assert_array_equal(labels, LABELS)
        assert labels.dtype == np.uint8
        assert seg.ClassTable.from_attrs(labels.attrs) == TABLE
    wide = seg.ClassTable.from_codes([code + 300 for code in TABLE.codes], TABLE.names)
    wide = seg.ClassTable(wide.codes, wide.names, TABLE.colors)
    np.testing.assert_array_equal(
        seg.open_labels(path, classes=wide), LABELS.astype(np.int16) + 300
    )


def test_opening_reads_no_pixel(tmp_path):
    import dask

    with dask.config.set(scheduler=raising_scheduler):
        seg.open_labels(write(tmp_path / "picture.tif"), like=SCENE.chunk(20), classes=TABLE)


def test_stated_nodata_and_unlabelled_classes_are_unlabelled(tmp_path):
    codes = CODES.copy()
    codes[:5] = 0
    path = write(tmp_path / "picture.tif", nodata=0, codes=codes)
    labels = seg.open_labels(path, classes=TABLE, unlabelled=(TABLE.names[1],))
    expected = np.where((codes == 0) | (codes == TABLE.codes[1]), 255, codes)
    np.testing.assert_array_equal(labels, expected)


def test_what_is_transparent_is_unlabelled(tmp_path):
    with rasterio.open(write(tmp_path / "picture.tif")) as file:
        profile, colors = file.profile | {"count": 4}, file.read()
    alpha = np.full((1, 64, 64), 255, np.uint8)
    alpha[:, :5] = 0
    with rasterio.open(tmp_path / "a.tif", "w", photometric="RGB", alpha="YES", **profile) as file:
        file.write(np.concatenate([colors, alpha]))
    for like in (SCENE, SCENE.chunk(20)):
        labels = seg.open_labels(tmp_path / "a.tif", like=like, classes=TABLE)
        np.testing.assert_array_equal(labels, np.where(alpha[0] == 0, 255, CODES))
    with pytest.raises(ValueError, match=r"classes= \(--classes colours\.csv"):
        seg.open_labels(tmp_path / "a.tif", like=SCENE)


def test_without_a_table_or_with_other_colours_it_is_refused(tmp_path):
    codes = CODES.copy()
    codes[0, 0] = 0
    path = write(tmp_path / "picture.tif", codes=codes)
    with pytest.raises(ValueError, match=r"3 bands.*classes= \(--classes colours\.csv"):
        seg.open_labels(path, like=SCENE)
    with pytest.raises(ValueError, match="colours #000000, which are not in the class table"):
        seg.open_labels(path, classes=TABLE).compute()
    twice = seg.ClassTable.from_codes([1, 2], ["a", "b"], ["#ff0000", "#ff0000"])
    with pytest.raises(ValueError, match=r"colour more than once \(#ff0000, #ff0000\)"):
        seg.open_labels(path, classes=twice)


def test_the_command_line_takes_colours(tmp_path):
    scene = SCENE.isel(band=[0, 1]).drop_attrs(deep=False).rio.write_nodata(0)
    scene.rio.to_raster(tmp_path / "scene.tif")
    seg.write_classes(TABLE, tmp_path / "colours.csv")
    words = ["--image", str(tmp_path / "scene.tif"), "--classes", str(tmp_path / "colours.csv")]
    words += ["--label", str(write(tmp_path / "picture.tif")), "--patch_size", "16"]
    assert main(["extract", "single", *words, "--output", str(tmp_path / "a.zarr"), "--quiet"]) == 0
    store = seg.open_store(tmp_path / "a.zarr")
    assert store.contract.classes == TABLE
    total = sum(sum(store.class_counts(s).values()) for s in ("train", "validation", "test"))
    assert total == CODES.size


def test_a_reference_in_the_colours_of_the_given_classes_is_evaluated(tmp_path):
    picture = str(write(tmp_path / "picture.tif"))
    mapped = LABELS.copy(data=np.where(TABLE.codes[0] == CODES, TABLE.codes[1], CODES))
    expected = seg.evaluate(mapped, LABELS, classes=TABLE)
    for reference in (picture, rioxarray.open_rasterio(picture)):
        evaluation = seg.evaluate(mapped, reference, classes=TABLE)
        np.testing.assert_array_equal(evaluation.matrix, expected.matrix)
        assert evaluation.classes == TABLE
    seg.write_cog(mapped.to_dataset(name="classes"), tmp_path / "map.tif")
    table, report = str(seg.write_classes(TABLE, tmp_path / "t.csv")), tmp_path / "report.json"
    line = ["evaluate", "--prediction", str(tmp_path / "map.tif"), "--reference", picture]
    assert main([*line, "--classes", table, "--output", str(report), "--quiet"]) == 0
    assert json.loads(report.read_text())["accuracy"] == expected.accuracy
