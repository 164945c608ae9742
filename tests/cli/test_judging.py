from __future__ import annotations

import json
import re

import geopandas as gpd
import numpy as np
import pytest
from shapely import Point, box

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    _, labels = synthetic_sentinel2((90, 80), seed=2)
    seg.write_cog(labels.to_dataset(name="classes"), folder / "labels.tif")
    wrong = labels.copy(data=np.where(np.arange(80) < 30, 2, labels.values).astype(np.uint8))
    seg.write_cog(wrong.to_dataset(name="classes"), folder / "map.tif")
    west, south, east, north = labels.rio.bounds()
    middle = (west + east) / 2
    zones = gpd.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=[box(west, south, middle, north), box(middle, south, east, north)],
        crs=labels.rio.crs,
    )
    zones.to_crs(4326).to_file(folder / "zones.gpkg")
    points = gpd.GeoDataFrame(
        {"cover": ["forest", "water"]},
        geometry=[Point(west + 15, north - 405), Point(west - 100, north)],
        crs=labels.rio.crs,
    )
    points.to_file(folder / "points.gpkg")
    (folder / "folder.json").mkdir()
    return folder


def words(files, reference, *more):
    named = ("--prediction", f"{files}/map.tif", "--reference", f"{files}/{reference}")
    return ["evaluate", *named, *more]


def test_zones_borders_and_a_figure_from_the_shell(files, tmp_path, capsys):
    outputs = ("--output", f"{tmp_path}/r.json", "--figure", f"{tmp_path}/r.png")
    zones = ("--zones", f"{files}/zones.gpkg", "--zone-column", "name")
    line = words(files, "labels.tif", *zones, "--border-widths", "1", "3", *outputs)
    assert main(line) == 0
    told = capsys.readouterr().out
    options = {"zone_column": "name", "border_widths": (1, 3)}
    expected = seg.evaluate(
        files / "map.tif", files / "labels.tif", zones=files / "zones.gpkg", **options
    )
    assert told.strip() == repr(expected)
    assert json.loads((tmp_path / "r.json").read_text()) == expected.to_dict()
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert expected.zones["east"].accuracy > expected.zones["west"].accuracy


def test_zones_are_named_by_their_column_name_where_they_have_one(files, capsys):
    assert main([*words(files, "labels.tif", "--zones", f"{files}/zones.gpkg"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["zones"]) == {"west", "east"}


def test_points_from_the_shell(files, capsys):
    assert main(words(files, "points.gpkg", "--column", "cover")) == 0
    assert "1 point compared, 1 outside the map" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("labels.tif", "--zones", "nowhere.gpkg"), "nowhere.gpkg"),
        (("points.gpkg", "--column", "cover", "--border-widths", "2"), "border_widths"),
        (("points.gpkg",), "--column"),
        (("labels.tif", "--figure", "report.text"), "report.text"),
        (("labels.tif", "--figure", "nowhere/report.png"), "nowhere"),
        (("labels.tif", "--output", "nowhere/report.json"), "nowhere"),
        (("labels.tif", "--output", "folder.json"), "is a folder"),
    ],
)
def test_bad_input_ends_in_one_clear_message(files, more, named, capsys, monkeypatch):
    monkeypatch.chdir(files)
    assert main(words(files, *more)) == 2
    told = capsys.readouterr().err
    assert told.count("error: ") == 1
    assert named in told


@pytest.fixture
def computing(monkeypatch):
    """Make computing an error of its own."""

    def compute(*args, **options):
        raise AssertionError("computed before the outputs were looked at")

    for name in (
        "evaluation.confusion.evaluate",
        "evaluation.change.map_change",
        "evaluation.change.change_layer",
        "calibration.calibrate.calibrate",
        "calibration.confidence.reliability",
        "areas.sample_files.read_sample",
        "jobs.job.predict_to_zarr",
        "maps.survey.map_statistics",
        "planning.planning.plan",
    ):
        monkeypatch.setattr(f"seg4eo_xr.{name}", compute)


@pytest.mark.parametrize(
    "line",
    [
        "evaluate --prediction a --reference b --figure {}",
        "evaluate --prediction a --reference b --output {}/r.json",
        "change --before a --after b --output {}/r.json",
        "change --before a --after b --layer {}",
        "calibrate --model a --dataset_root b --output c --figure {}",
        "calibrate --model a --dataset_root b --output c --report {}/r.json",
        "reliability --prediction a --reference b --figure {}",
        "reliability --prediction a --reference b --output {}/r.json",
        "areas --sample a --output {}/r.json",
        "predict --model a --input b --output c.tif --report {}/r.json",
        "statistics --map a --output {}/r.json",
        "plan --model a --input b --output {}/r.json",
    ],
)
def test_nothing_is_computed_for_what_cannot_be_written(computing, tmp_path, line, capsys):
    assert main(line.format(tmp_path / "report.text").split()) == 2
    assert "report.text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "evaluate --prediction @map.tif --reference @labels.tif --output @map.tif",
        "evaluate --prediction @map.tif --reference @labels.tif --figure @labels.tif",
        "change --before @map.tif --after @labels.tif --output @map.tif",
        "change --before @map.tif --after @labels.tif --layer @map.tif --overwrite",
        "change --before @map.tif --after @labels.tif --layer @labels.tif --overwrite",
        "statistics --map @map.tif --output @map.tif",
        "areas --sample @points.gpkg --output @points.gpkg",
        "predict --model @map.tif --input @labels.tif --output @new.tif --report @map.tif",
        "predict --model @map.tif --input @labels.tif --output @new.tif --report @new.tif",
    ],
)
def test_nothing_replaces_what_it_is_made_from(files, computing, line, capsys):
    before = {file: file.read_bytes() for file in files.iterdir() if file.is_file()}
    assert main(line.replace("@", f"{files}/").split()) == 2
    assert re.search(r"must end in .*\.(json|svg)|is a map itself", capsys.readouterr().err)
    assert {file: file.read_bytes() for file in files.iterdir() if file.is_file()} == before
