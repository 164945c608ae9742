"""Samples through a GeoPackage, people's hands, and back."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import xarray as xr
from affine import Affine

from seg4eo_xr.areas.area import estimate_areas
from seg4eo_xr.areas.own_points import sample_of_points
from seg4eo_xr.areas.sample_files import read_sample, write_sample
from seg4eo_xr.areas.sampling import draw_sample
from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.postprocessing.filters import reclassify
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def labels():
    return synthetic_sentinel2((120, 140), seed=3)[1]


@pytest.fixture(scope="module")
def mapped(labels):
    """The truth with every ninth row wrong."""
    codes = labels.values.copy()
    codes[::9] = np.where(codes[::9] == 255, 255, 2)
    return labels.copy(data=codes)


@pytest.fixture
def sample(mapped):
    return draw_sample(mapped, size=150, minimum=10)


def interpret(path, labels, *, names=False):
    """What a person does: open the layer of points, fill the column, save."""
    points = gpd.read_file(path, layer="sample")
    inverse = ~labels.rio.transform()
    cols, rows = inverse * (points.geometry.x.to_numpy(), points.geometry.y.to_numpy())
    codes = labels.values[rows.astype(int), cols.astype(int)]
    table = ClassTable.from_attrs(labels.attrs)
    words = dict(zip(table.codes, table.names if names else map(str, table.codes), strict=True))
    points["reference"] = [words[code] for code in codes]
    points.to_file(path, layer="sample")
    return points


def test_a_sample_comes_back_as_it_was_written(sample, tmp_path):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    again = read_sample(path)
    assert again.attrs == sample.attrs
    assert again.crs == sample.crs
    assert again["reference"].isna().all()
    columns = ["id", "stratum", "map", "row", "col"]
    pd.testing.assert_frame_equal(
        pd.DataFrame(again[columns]), pd.DataFrame(sample[columns]), check_dtype=False
    )
    assert again.geometry.geom_equals_exact(sample.geometry, 1e-6).all()


def test_the_interpreter_does_not_see_the_class_of_the_map(sample, tmp_path):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    points = gpd.read_file(path, layer="sample")
    assert set(points.columns) == {"id", "reference", "interpreter", "remarks", "geometry"}


@pytest.mark.parametrize("names", [False, True])
def test_the_filled_file_gives_the_areas(sample, labels, mapped, tmp_path, names):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    interpret(path, labels, names=names)
    estimate = estimate_areas(path)
    truth = labels.values[sample["row"], sample["col"]]
    assert estimate.points.sum() == 150
    assert estimate.points.sum((0, 1)).sum() == len(truth)
    filled = sample.assign(reference=truth)
    filled.attrs = sample.attrs
    np.testing.assert_array_equal(estimate.points, estimate_areas(filled).points)
    valid = labels.values != 255
    right = (labels.values == mapped.values)[valid].mean()
    overall = estimate.overall_accuracy
    assert abs(overall.value[0] - right) < 4 * overall.standard_error[0]


def test_a_table_or_a_smaller_sample_fills_it(sample, labels, mapped, tmp_path):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    points = interpret(path, labels)
    empty = write_sample(sample, tmp_path / "empty.gpkg")
    for encoding in ("utf-8", "utf-8-sig"):  # spreadsheets write the second
        export = tmp_path / "export.csv"
        points[["id", "reference"]].to_csv(export, index=False, sep=";", encoding=encoding)
        found = estimate_areas(read_sample(empty, filled=export))
        np.testing.assert_array_equal(found.points, estimate_areas(path).points)
    larger = draw_sample(mapped, size=220, minimum=10)
    write_sample(larger, tmp_path / "larger.gpkg")
    again = read_sample(tmp_path / "larger.gpkg", filled=path)
    assert again["reference"].notna().sum() == 150
    points.to_file(tmp_path / "export.gpkg", layer="judged")
    again = read_sample(tmp_path / "larger.gpkg", filled=tmp_path / "export.gpkg")
    assert again["reference"].notna().sum() == 150


def test_another_map_is_judged_by_the_same_points(sample, labels, tmp_path):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    interpret(path, labels)
    write_cog(labels.to_dataset(name="classes"), tmp_path / "better.tif")
    better = estimate_areas(path, prediction=tmp_path / "better.tif")
    assert better.overall_accuracy.value.tolist() == pytest.approx([1])
    # areas are those of the points, whatever map is judged
    np.testing.assert_allclose(better.share.value, estimate_areas(path).share.value)
    part = labels.isel(x=slice(60))
    with pytest.raises(ValueError, match="points lie outside the map"):
        estimate_areas(path, prediction=part)


@pytest.mark.parametrize("names", [False, True])
def test_another_map_may_have_other_codes_and_further_classes(sample, labels, tmp_path, names):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    interpret(path, labels, names=names)
    table = ClassTable.from_attrs(labels.attrs)
    turned = reclassify(labels, dict(zip(table.codes, table.codes[::-1], strict=True)))
    assert ClassTable.from_attrs(turned.attrs).names == table.names[::-1]
    expected = estimate_areas(path, prediction=labels)
    found = estimate_areas(path, prediction=turned)
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.points, expected.points)
    further = ClassTable.from_codes([*table.codes, 99], [*table.names, "ice"])
    with_ice = labels.where(labels != table.codes[0], 99).astype(np.uint8)
    found = estimate_areas(path, prediction=with_ice.assign_attrs(further.to_attrs()))
    assert found.classes.names == further.names
    assert found.points[:, -1, 0].sum() == expected.points[:, 0, 0].sum()
    unnamed = with_ice.assign_attrs(table.to_attrs())
    with pytest.raises(ValueError, match=r"holds 99 where points lie.*give its class table"):
        estimate_areas(path, prediction=unnamed)


def test_a_deleted_point_has_been_drawn_all_the_same(sample, labels, tmp_path):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    points = interpret(path, labels)
    points.iloc[2:].to_file(path, layer="sample")
    with pytest.raises(ValueError, match="2 of 150 points have no reference class"):
        estimate_areas(path)
    assert estimate_areas(path, drop_unfilled=True).points.sum() == 148
    assert estimate_areas(path, prediction=labels, drop_unfilled=True).points.sum() == 148


def test_added_and_doubled_points_are_refused(sample, tmp_path):
    path = write_sample(sample, tmp_path / "sample.gpkg")
    points = gpd.read_file(path, layer="sample")
    first = points["id"].iloc[0]
    pd.concat([points, points.iloc[:1]]).to_file(path, layer="sample")
    with pytest.raises(ValueError, match=f"the points {first} more than once"):
        read_sample(path)
    points.loc[0, "id"] = "by the road"
    points.to_file(path, layer="sample")
    with pytest.raises(ValueError, match="the points by the road, which are not of this sample"):
        read_sample(path)


def test_files_that_are_no_samples_are_told(sample, labels, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.gpkg"):
        write_sample(sample, tmp_path / "sample.shp")
    path = write_sample(sample, tmp_path / "sample.gpkg")
    with pytest.raises(FileExistsError, match="overwrite"):
        write_sample(sample, path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_sample(tmp_path / "nowhere.gpkg")
    pyogrio.write_dataframe(sample[["id", "geometry"]], tmp_path / "other.gpkg", layer="sample")
    with pytest.raises(ValueError, match="no layer 'design'"):
        read_sample(tmp_path / "other.gpkg")
    (tmp_path / "text.csv").write_text("name,class\na,1\n")
    with pytest.raises(ValueError, match="lacks the columns id, reference"):
        read_sample(path, filled=tmp_path / "text.csv")
    assert [entry.name for entry in tmp_path.iterdir() if ".part" in entry.name] == []


def test_points_of_ones_own_make_a_sample(sample, labels, mapped):
    truth = labels.values[sample["row"], sample["col"]]
    points = sample[["geometry"]].assign(cover=truth).to_crs(4326)
    lazy = mapped.chunk({"y": 37, "x": 41})
    own = sample_of_points(points, lazy, column="cover")
    assert own["row"].tolist() == sample["row"].tolist()
    assert own.attrs == sample.attrs
    filled = sample.assign(reference=truth)
    filled.attrs = sample.attrs
    np.testing.assert_array_equal(estimate_areas(own).points, estimate_areas(filled).points)


def points_in_degrees(count, seed, by_area=False):
    """A map whose two classes lie side by side from 20° to 80° north; the truth is 1 above 50°."""
    side, mapped = 64, np.repeat(np.array([[1, 2]], np.uint8), 32, axis=1).repeat(64, axis=0)
    step = 60 / side
    mapped = xr.DataArray(mapped, dims=("y", "x"), attrs=ClassTable.from_codes([1, 2]).to_attrs())
    mapped = mapped.rio.write_crs(4326).rio.write_transform(Affine(step, 0, 0, 0, -step, 80))
    rng, places = np.random.default_rng(seed), step * (np.arange(side) + 0.5)
    chances = np.cos(np.radians(80 - places)) if by_area else np.ones(side)
    rows = rng.choice(side, count, p=chances / chances.sum())
    north, east = 80 - places[rows], places[rng.integers(0, side, count)]
    table = {"cover": np.where(north > 50, 1, 2)}
    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(east, north, crs=4326)), mapped


# shares of the surface of the ellipsoid lie within 0.003 of those of the sphere
NORTH = (np.sin(np.radians(80)) - np.sin(np.radians(50))) / (
    np.sin(np.radians(80)) - np.sin(np.radians(20))
)


@pytest.mark.parametrize("drawn_by", ["pixel", "area"])
def test_points_in_degrees_stand_for_the_area_that_they_were_drawn_for(drawn_by):
    estimates = []
    for seed in range(40):
        points, mapped = points_in_degrees(400, seed, by_area=drawn_by == "area")
        own = sample_of_points(points, mapped, column="cover", drawn_by=drawn_by)
        estimates.append(estimate_areas(own).share)
    values = np.array([estimate.value[0] for estimate in estimates])
    errors = np.array([estimate.standard_error[0] for estimate in estimates])
    assert values.mean() == pytest.approx(NORTH, abs=4 * values.std() / 40**0.5 + 0.003)
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.4)
    assert abs(0.5 - NORTH) > 0.1  # what counting pixels would give


def test_points_drawn_by_pixel_keep_their_areas_in_a_file(tmp_path):
    points, mapped = points_in_degrees(100, 1)
    own = sample_of_points(points, mapped, column="cover")
    again = read_sample(write_sample(own, tmp_path / "own.gpkg"))
    found, expected = estimate_areas(again).share, estimate_areas(own).share
    np.testing.assert_array_equal(found.value, expected.value)
    np.testing.assert_array_equal(found.standard_error, expected.standard_error)


def test_the_way_points_were_drawn_is_checked(sample, mapped):
    points = sample[["geometry"]].assign(reference=1)
    with pytest.raises(ValueError, match="drawn_by must be one of pixel, area, got 'pixels'"):
        sample_of_points(points, mapped, drawn_by="pixels")
    own = sample_of_points(points, mapped)
    own.loc[3, "pixel_area"] = 0
    with pytest.raises(ValueError, match="'pixel_area' of the sample holds 0"):
        estimate_areas(own)


@pytest.mark.parametrize("names", [False, True])
def test_points_without_a_class_stay_unfilled(sample, labels, mapped, tmp_path, names):
    truth = labels.values[sample["row"], sample["col"]]
    table = ClassTable.from_attrs(labels.attrs)
    words = [table.names[table.codes.index(code)] if names else int(code) for code in truth]
    points = sample[["geometry"]].assign(cover=[*words[:-1], None])
    # a column of whole numbers with a gap comes back as one of real numbers
    points.to_file(tmp_path / "points.gpkg")
    for own in (points, tmp_path / "points.gpkg"):
        found = sample_of_points(own, mapped, column="cover")
        assert found["reference"].isna().tolist() == [False] * 149 + [True]
        with pytest.raises(ValueError, match="1 of 150 points have no reference class"):
            estimate_areas(found)
        assert estimate_areas(found, drop_unfilled=True).points.sum() == 149


def test_a_sample_in_memory_waits_for_people(sample):
    with pytest.raises(ValueError, match="150 of 150 points have no reference class"):
        estimate_areas(sample)


def test_points_that_do_not_fit_are_told(sample, mapped):
    points = sample[["geometry"]].assign(reference=1)
    away = points.copy()
    away.loc[[3, 5], "geometry"] = away.loc[[3, 5], "geometry"].translate(1e6)
    with pytest.raises(ValueError, match="2 of 150 points lie outside the map: 3, 5"):
        sample_of_points(away, mapped)
    hole = mapped.copy(data=mapped.values.copy())
    hole.values[sample["row"].iloc[4], sample["col"].iloc[4]] = 255
    with pytest.raises(ValueError, match="1 of 150 points lie where the map is nodata: 4"):
        sample_of_points(points, hole)
    with pytest.raises(ValueError, match="lacks the columns cover"):
        sample_of_points(points, mapped, column="cover")
    with pytest.raises(ValueError, match="'99'"):
        sample_of_points(points.assign(reference=99), mapped)
    with pytest.raises(ValueError, match="Polygon"):
        sample_of_points(points.set_geometry(points.buffer(5)), mapped)
    with pytest.raises(ValueError, match="no CRS"):
        sample_of_points(points.set_crs(None, allow_override=True), mapped)
