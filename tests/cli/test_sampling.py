"""Samples and areas on the command line."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest

from seg4eo_xr.cli import main
from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map, and a sample of it with references that are right."""
    folder = tmp_path_factory.mktemp("sampling")
    labels = synthetic_sentinel2((100, 110), seed=3)[1]
    write_cog(labels.to_dataset(name="classes"), folder / "map.tif")
    assert main([*words(folder), "--size", "90", "--minimum", "10"]) == 0
    points = gpd.read_file(folder / "sample.gpkg", layer="sample")
    cols, rows = ~labels.rio.transform() * (points.geometry.x.values, points.geometry.y.values)
    points["reference"] = labels.values[rows.astype(int), cols.astype(int)].astype(str)
    points.to_file(folder / "sample.gpkg", layer="sample")
    points.to_file(folder / "own.geojson")
    return folder


def words(folder, output="sample.gpkg"):
    return ["sample", "--prediction", f"{folder}/map.tif", "--output", f"{folder}/{output}"]


def test_from_a_map_to_areas(folder, tmp_path, capsys):
    report = tmp_path / "areas.json"
    assert main(["areas", "--sample", f"{folder}/sample.gpkg", "--output", str(report)]) == 0
    assert "overall accuracy 1.000" in capsys.readouterr().out
    assert json.loads(report.read_text())["points"] == 90


def test_the_sample_says_how_many_points_each_stratum_has(folder, capsys):
    options = ["--size", "70", "--minimum", "5", "--accuracies", "forest", "0.9", "water", "0.99"]
    assert main([*words(folder, "other.gpkg"), *options, "--allocation", "optimal"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["stratum", "area", "pixels", "points"]
    assert np.sum([int(line.split()[-1]) for line in lines[1:-1]]) == 70


@pytest.mark.parametrize("drawn_by", [[], ["--drawn_by", "area"]])
def test_points_of_ones_own(folder, capsys, drawn_by):
    command = ["areas", "--sample", f"{folder}/own.geojson", "--column", "reference"]
    assert main([*command, "--prediction", f"{folder}/map.tif", *drawn_by]) == 0
    assert "overall accuracy 1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["sample", "--size", "90"], "overwrite"),
        (["sample", "--size", "20", "--output", "{}/new.gpkg"], "lower minimum"),
        (["sample", "--size", "90", "--output", "{}/new.shp", "--minimum", "9"], ".gpkg"),
        (["areas", "--column", "reference"], "--prediction"),
        (["areas", "--strata", "{}/map.tif"], "--column"),
        (["areas", "--drawn_by", "area"], "--column"),
        (["areas", "--sample", "{}/map.tif"], "write_sample wrote"),
    ],
)
def test_bad_input_is_told_in_one_message(folder, changes, says, capsys):
    command, *options = (word.format(folder) for word in changes)
    first = words(folder) if command == "sample" else ["areas", "--sample", f"{folder}/sample.gpkg"]
    assert main([*first, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert not list(folder.glob("new*"))
