"""Predicting from the command line with checkpoints that do not say all themselves."""

import io
import json
import os

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from shapely import box
from toy_jobs import toy_checkpoint, toy_scene
from toy_network import tiny_network

from seg4eo_xr.cli import main
from seg4eo_xr.models.checkpoint import save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint


@pytest.fixture
def words(tmp_path) -> list[str]:
    scene = synthetic_sentinel2((64, 64), seed=1)[0]
    select_bands(scene, ["B02", "B03", "B04"]).rio.to_raster(tmp_path / "scene.tif")
    network = build_model(ModelSpec("unet", "resnet18", 3, 2))
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "old.pth")
    options = {"model": "old.pth", "input": "scene.tif", "output": "map.tif"}
    paths = [word for name, file in options.items() for word in (f"--{name}", f"{tmp_path}/{file}")]
    return ["predict", *paths, "--training_patch_size", "64"]


def test_hints_name_bands_and_classes(words, tmp_path):
    more = ["--model_bands", "B04", "B02", "B03"]
    more += ["--class_codes", "7", "9", "--class_names", "wet", "dry"]
    assert main([*words, *more]) == 0
    with rasterio.open(tmp_path / "map.tif") as found:
        assert set(np.unique(found.read(1))) <= {7, 9, 255}


def test_an_old_checkpoint_can_be_normalised_per_band(words, tmp_path):
    maps = []
    words += ["--save_confidence", "--model_bands", "B04", "B02", "B03"]
    for more in ([], ["--normalize_per_channel"]):
        assert main([*words, *more, "--overwrite"]) == 0
        with rasterio.open(tmp_path / "map_confidence.tif") as found:
            maps.append(found.read(1))
    assert not np.allclose(*maps, atol=1e-3, equal_nan=True)


def test_plain_weights_ask_how_their_input_was_normalised(words, tmp_path, capsys):
    words += ["--model_bands", "B04", "B02", "B03", "--overwrite", "--layers", "probabilities"]
    words[words.index(f"{tmp_path}/map.tif")] = f"{tmp_path}/map.zarr"
    assert main(words) == 0
    assert "--normalization none, scale or mean-std" in capsys.readouterr().err
    first = xr.open_zarr(tmp_path / "map.zarr")["probabilities"].values
    assert main([*words, "--normalization", "scale", "--normalization_divisor", "10000"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main([*words, "--normalization", "imagenet"]) == 2
    assert "one of patch, none, scale, mean-std" in capsys.readouterr().err
    second = xr.open_zarr(tmp_path / "map.zarr")["probabilities"].values
    assert not np.allclose(first, second, atol=1e-3, equal_nan=True)


def test_the_scripts_options_may_repeat_what_the_checkpoint_says(words, tmp_path):
    with tiny_network():
        save_checkpoint(toy_checkpoint(), tmp_path / "old.pth")
        words = words[: words.index("--training_patch_size")]
        assert main([*words, "--model_name", "UNet", "--encoder_name", "resnet18"]) == 0
        assert main([*words, "--model_name", "fpn", "--overwrite"]) == 2


def test_a_hint_that_does_not_fit_is_told(words, capsys):
    assert main([*words, "--architecture", "fpn"]) != 0
    assert "weights are not those of" in capsys.readouterr().err


def test_a_job_reports_and_goes_on(words, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise OSError("stopped")

    words[words.index(f"{tmp_path}/map.tif")] = f"{tmp_path}/map.zarr"
    words += ["--model_bands", "B04", "B02", "B03", "--tile_size", "64"]
    with monkeypatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.finish_store", stop)
        assert main(words) == 2
    assert "1 of 1 tiles are finished and kept" in capsys.readouterr().err
    # refused before workers are started for it
    assert main([*words, "--workers", "2"]) == 2
    told = capsys.readouterr().err
    assert "--resume" in told
    assert "dashboard" not in told
    assert main([*words, "--resume", "--report", f"{tmp_path}/report.json"]) == 0
    told = capsys.readouterr()
    assert "confidence" in told.out
    assert told.out.splitlines()[-1] == f"{tmp_path}/map.zarr"
    assert "dashboard of dask: http" in told.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["pixels"] + report["missing_pixels"] == 64 * 64
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_failed_tiles_give_exit_status_1(words, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seg4eo_xr.jobs.tile_work._BlockWriter.__call__", fail)
    assert main([*words, "--model_bands", "B04", "B02", "B03"]) == 1
    told = capsys.readouterr().err
    assert "1 of 1 tiles failed" in told
    assert "Traceback" not in told
    assert "No space left" in told


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, _):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("stream", [Broken(), None], ids=["broken", "closed"])
def test_a_map_is_made_though_nothing_can_be_told(words, tmp_path, monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    assert main([*words, "--model_bands", "B04", "B02", "B03"]) == 0
    assert (tmp_path / "map.tif").exists()


def test_a_pipe_that_breaks_within_the_work_is_an_error(words, monkeypatch, capsys):
    def fail(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("seg4eo_xr.jobs.job.open_scene", fail)
    assert main([*words, "--model_bands", "B04", "B02", "B03"]) == 2
    assert "Broken pipe" in capsys.readouterr().err


@pytest.fixture
def toys(tmp_path):
    """A model, two scenes side by side that overlap, and a polygon within the first."""
    with tiny_network():
        save_checkpoint(toy_checkpoint(), tmp_path / "model.pth")
        scene = toy_scene().rio.write_nodata(0)
        for name, part in {
            "20210603_west": scene[..., :100],
            "20210613_east": scene[..., 80:],
            "whole": scene,
        }.items():
            part.rio.to_raster(tmp_path / f"{name}.tif")
        west, _, _, north = scene.rio.bounds()
        square = box(west + 200, north - 700, west + 700, north - 200)
        gpd.GeoSeries([square], crs=scene.rio.crs).to_crs(4326).to_file(tmp_path / "area.gpkg")

        def predict(*more: str) -> int:
            words = ["--model", f"{tmp_path}/model.pth", "--tile_size", "96", "--overlap", "8"]
            return main(["predict", *words, *(word.replace("@", f"{tmp_path}/") for word in more)])

        yield predict


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize(
    ("words", "files"),
    [
        ([], set()),
        (["--layers", "classes", "confidence"], {"map_confidence.tif"}),
        (["--layers", "classes", "margin"], {"map_margin.tif"}),
        (["--save_confidence"], {"map_confidence.tif"}),
    ],
)
def test_layers_that_are_asked_for_are_files_and_the_classes_alone_if_none_is(
    toys, tmp_path, capsys, words, files
):
    asked = ["--input", "@whole.tif", "--output", "@map.tif", *words]
    assert toys(*asked, "--dump_config") == 0
    (tmp_path / "settings.toml").write_text(capsys.readouterr().out)
    assert main(["predict", "--config", f"{tmp_path}/settings.toml"]) == 0
    found = {file.name for file in tmp_path.glob("map*")}
    assert found == {"map.tif", "map.tif.aux.xml", *files}


def test_a_mosaic_is_mapped_without_a_seam(toys, tmp_path):
    parts = ["@20210603_west.tif", "@20210613_east.tif"]
    assert toys("--input", *parts, "--mosaic", "--output", "@parts.tif") == 0
    assert toys("--input", "@whole.tif", "--output", "@map.tif") == 0
    np.testing.assert_array_equal(read(tmp_path / "parts.tif"), read(tmp_path / "map.tif"))


def test_an_area_is_mapped_alone_and_gone_on_with(toys, tmp_path, capsys, monkeypatch):
    words = ["--input", "@whole.tif", "--area", "@area.gpkg", "--output", "@map.tif"]
    assert toys(*words, "--json") == 0
    found = read(tmp_path / "map.tif")
    assert max(found.shape) < 60
    assert "confidence" in json.loads(capsys.readouterr().out)["statistics"]
    assert 0.8 < (found != 255).mean() < 1
    # Found again, and not computed again, whatever the time of the scene's file.
    monkeypatch.setattr("seg4eo_xr.jobs.order.run_tiles", None)
    os.utime(tmp_path / "whole.tif", (0, 0))
    capsys.readouterr()
    assert toys(*words, "--resume") == 0
    assert "is finished already" in capsys.readouterr().err
    assert toys(*words, "--resume", "--blending", "linear") == 2
    assert "blending was hann and is linear" in capsys.readouterr().err


def test_a_series_is_mapped_date_by_date(toys, tmp_path, capsys):
    words = ["--series", "--output", "@map.tif", "--report", "@report.json"]
    assert toys("--input", "@20210603_west.tif", *words) == 0
    both = ["--input", "@20210613_east.tif", "@20210603_west.tif"]
    assert toys(*both, *words) == 2
    os.utime(tmp_path / "20210603_west.tif", (0, 0))
    capsys.readouterr()
    assert toys(*both, *words, "--resume") == 0
    told = capsys.readouterr()
    assert "map_2021-06-03.tif is finished already" in told.err
    assert f"{tmp_path}/map_2021-06-13.tif" in told.out
    assert toys("--input", "@20210613_east.tif", "--output", "@east.tif") == 0
    np.testing.assert_array_equal(
        read(tmp_path / "map_2021-06-13.tif"), read(tmp_path / "east.tif")
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == ["2021-06-03", "2021-06-13"]


def test_what_cannot_be_meant_is_told(toys, capsys):
    two = ["--input", "@20210603_west.tif", "@20210613_east.tif", "--output", "@map.tif"]
    assert toys(*two, "--mosaic", "--series") == 2
    assert "give one of them" in capsys.readouterr().err
    assert toys("--input", "@whole.tif", "--series", "--output", "@map.tif") == 2
    assert "no date" in capsys.readouterr().err
    again = ["--input", "@20210603_west.tif", "@20210603_west.tif", "--output", "@map.tif"]
    assert toys(*again, "--series") == 2
    assert "2021-06-03" in capsys.readouterr().err
    assert toys("--input", "@whole.tif", "--area", "@none.gpkg", "--output", "@map.tif") == 2
    assert "none.gpkg" in capsys.readouterr().err


@pytest.fixture
def raised(tmp_path):
    """A scene of before 2022, the same one as it is stored since, its labels, and a network."""
    scene, labels = synthetic_sentinel2((64, 96), seed=3)
    scene.attrs = {key: scene.attrs[key] for key in ("long_name", "_FillValue")}
    save_checkpoint(untrained_checkpoint(scene, labels), tmp_path / "network.pth")
    scene.rio.to_raster(tmp_path / "old.tif")
    labels.rio.to_raster(tmp_path / "labels.tif")
    scene.where(scene == 0, scene + 1000).rio.to_raster(tmp_path / "new.tif")
    return tmp_path


def test_the_offset_of_sentinel_2_is_noticed_and_taken_off(raised, capsys):
    def mapped(name: str, *more: str) -> np.ndarray:
        words = ["--model", f"{raised}/network.pth", "--input", f"{raised}/{name}.tif", *more]
        assert main(["predict", *words, "--output", f"{raised}/map.tif", "--overwrite"]) == 0
        with rasterio.open(raised / "map.tif") as found:
            return found.read(1)

    expected = mapped("old")
    assert "raised" not in capsys.readouterr().err
    assert not np.array_equal(mapped("new"), expected)
    told = capsys.readouterr().err
    assert told.count("seem raised by 1000") == 1
    assert "--harmonize 1000" in told
    assert np.array_equal(mapped("new", "--harmonize", "1000"), expected)
    assert "raised" not in capsys.readouterr().err


def test_every_command_that_opens_scenes_takes_off_the_offset(raised, capsys):
    new, more = f"{raised}/new.tif", ["--patch_size", "32", "--harmonize", "1000"]
    extract = ["extract", "single", "--image", new, "--label", f"{raised}/labels.tif", *more]
    assert main([*extract, "--output", f"{raised}/a.zarr"]) == 0
    assert min(open_store(raised / "a.zarr").contract.dark) < 500
    plan = ["plan", "--model", f"{raised}/network.pth", "--input", new, "--no_calibration"]
    assert main([*plan, "--harmonize", "auto"]) == 2
    assert "nothing tells" in capsys.readouterr().err
    assert main([*plan, "--harmonize", "1000"]) == 0
