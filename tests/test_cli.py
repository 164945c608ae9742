"""The command line: the whole chain on files, and one clear message for each bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from shapely.geometry import box

from seg4eo_xr.cli import COMMANDS, main
from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import synthetic_sentinel2


def write(array, path: Path) -> Path:
    array.rio.to_raster(path, tiled=True)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A scene, its labels, a patch store and a trained run, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("chain")
    scene, labels = synthetic_sentinel2((256, 320), seed=1)
    write(scene, folder / "scene.tif")
    write(labels, folder / "labels.tif")
    assert main(extract(folder)) == 0
    words = ["train", "--dataset_root", f"{folder}/patches.zarr", "--save_dir", f"{folder}/run"]
    words += ["--model", "unet", "--encoder_name", "resnet18", "--no_pretrained", "--epochs", "1"]
    assert main([*words, "--batch_size", "4"]) == 0
    return folder


def extract(folder: Path, **changes: str) -> list[str]:
    options = {
        "image": f"{folder}/scene.tif",
        "label": f"{folder}/labels.tif",
        "output": f"{folder}/patches.zarr",
        "patch_size": "64",
    }
    return ["extract", "single", *as_words(options | changes)]


def prediction(folder: Path) -> dict[str, str]:
    return {"model": f"{folder}/run/model_best_iou.pth", "input": f"{folder}/scene.tif"}


def predict(folder: Path, output: Path, **changes: str) -> list[str]:
    return ["predict", *as_words(prediction(folder) | {"output": str(output)} | changes)]


def as_words(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def test_the_chain_leaves_a_map_with_names_colours_and_confidence(files, tmp_path, capsys):
    assert main(["info", "--output", f"{files}/patches.zarr"]) == 0
    assert "forest" in capsys.readouterr().out
    words = predict(files, tmp_path / "map.tif")
    assert main([*words, "--save_confidence"]) == 0
    with (
        rasterio.open(files / "scene.tif") as scene,
        rasterio.open(tmp_path / "map.tif") as result,
        rasterio.open(tmp_path / "map_confidence.tif") as confidence,
    ):
        assert result.crs == scene.crs == confidence.crs
        assert result.transform == scene.transform == confidence.transform
        assert result.nodata == 255
        assert result.overviews(1) or max(result.shape) <= 512
        assert len(result.colormap(1)) == 256
        missing = (scene.read() == 0).any(0)
        assert (result.read(1)[missing] == 255).all()
        assert np.isnan(confidence.read(1)[missing]).all()
    report = tmp_path / "report.json"
    words = ["evaluate", "--prediction", f"{tmp_path}/map.tif", "--reference"]
    assert main([*words, f"{files}/labels.tif", "--output", str(report)]) == 0
    assert "forest" in capsys.readouterr().out
    assert 0 <= json.loads(report.read_text())["miou"] <= 1


def test_a_zarr_store_holds_the_same_map(files, tmp_path):
    from seg4eo_xr import open_map

    assert main(predict(files, tmp_path / "map.tif")) == 0
    assert main(predict(files, tmp_path / "map.zarr")) == 0
    as_zarr, as_cog = open_map(tmp_path / "map.zarr"), open_map(tmp_path / "map.tif")
    np.testing.assert_array_equal(as_zarr["classes"], as_cog["classes"])
    assert as_zarr["confidence"].dtype == np.float32


def test_options_are_written_with_hyphens_or_underscores(files, tmp_path):
    words = predict(files, tmp_path / "a.tif", output_nodata="254", batch_size="3")
    assert main(words) == 0
    hyphens = [word.replace("_", "-") if word.startswith("--") else word for word in words]
    hyphens[hyphens.index(f"{tmp_path}/a.tif")] = f"{tmp_path}/b.tif"
    assert main(hyphens) == 0
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_models_and_encoders_are_listed(capsys):
    assert main(["models"]) == 0
    assert "unet++" in capsys.readouterr().out.split()
    assert main(["models", "--encoders"]) == 0
    assert "resnet34" in capsys.readouterr().out.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: seg4eo-xr {name}" in " ".join(text.split())


def write_bad_files(files: Path, folder: Path) -> None:
    """Files that are wrong, each in one way."""
    scene, labels = synthetic_sentinel2((256, 320), seed=1)
    shifted = labels.assign_coords(x=labels["x"] + 30).drop_vars("spatial_ref")
    write(shifted.rio.write_crs(scene.rio.crs), folder / "shifted.tif")
    (folder / "cut.tif").write_bytes((files / "scene.tif").read_bytes()[:200_000])
    corner = {"y": slice(200, 250), "x": slice(50)}
    write(scene.isel(corner), folder / "small.tif")
    write(labels.isel(corner), folder / "small_labels.tif")
    write(scene * 0, folder / "empty.tif")
    write(select_bands(scene, ["B02", "B03", "B04"]), folder / "three.tif")
    strange = labels.copy()
    strange[100, 100] = 77
    write(strange, folder / "strange.tif")
    with rasterio.open(files / "scene.tif") as source:
        profile = {**source.profile, "crs": None}
        with rasterio.open(folder / "nocrs.tif", "w", **profile) as target:
            target.write(source.read())
    (folder / "words.pth").write_text("no network")
    torch.save({"model_state_dict": print}, folder / "code.pth")
    elsewhere = gpd.GeoDataFrame({"kind": [1]}, geometry=[box(0, 0, 1, 1)], crs=4326)
    elsewhere.to_file(folder / "elsewhere.gpkg")


def bad_extractions(files: Path, folder: Path) -> dict[str, tuple[list[str], str]]:
    """Command and what its message has to name."""
    changes = {
        "missing file": ({"image": "nowhere.tif"}, "nowhere.tif"),
        "truncated file": ({"image": f"{folder}/cut.tif"}, "cut.tif"),
        "labels not aligned": ({"label": f"{folder}/shifted.tif"}, "shifted.tif"),
        "no CRS": ({"image": f"{folder}/nocrs.tif"}, "CRS"),
        "smaller than a patch": (
            {"image": f"{folder}/small.tif", "label": f"{folder}/small_labels.tif"}
            | {"edges": "drop"},
            "patch_size",
        ),
        "all nodata": ({"image": f"{folder}/empty.tif"}, "nodata"),
        "polygons elsewhere": ({"label": f"{folder}/elsewhere.gpkg"}, "elsewhere.gpkg"),
        "store exists": ({"output": f"{files}/patches.zarr"}, "overwrite"),
        "unwritable store": ({"output": f"{files}/scene.tif/p.zarr"}, "scene.tif"),
    }
    fresh = {"output": f"{folder}/new.zarr"}
    return {case: (extract(files, **fresh | new), named) for case, (new, named) in changes.items()}


def bad_predictions(files: Path, folder: Path) -> dict[str, tuple[list[str], str]]:
    """Command and what its message has to name."""
    changes = {
        "bands differ": ({"input": f"{folder}/three.tif"}, "B12"),
        "truncated scene": ({"input": f"{folder}/cut.tif"}, "cut.tif"),
        "no checkpoint": ({"model": f"{folder}/words.pth"}, "words.pth"),
        "holds code": ({"model": f"{folder}/code.pth"}, "run code"),
        "unwritable map": ({"output": f"{folder}/missing folder/map.tif"}, "missing folder"),
        "strange suffix": ({"output": f"{folder}/map.png"}, "--output"),
        "overlap too large": ({"overlap": "64"}, "overlap"),
    }
    fresh = {"output": f"{folder}/new.tif"}
    return {
        case: (["predict", *as_words(prediction(files) | fresh | new)], named)
        for case, (new, named) in changes.items()
    }


def bad_others(files: Path, folder: Path) -> dict[str, tuple[list[str], str]]:
    """Command and what its message has to name."""
    evaluate = ["evaluate", "--prediction", f"{files}/labels.tif", "--reference"]
    train = ["train", "--dataset_root", f"{files}/patches.zarr", "--save_dir"]
    return {
        "another grid": ([*evaluate, f"{folder}/shifted.tif"], "shifted.tif"),
        "class not in the table": ([*evaluate, f"{folder}/strange.tif"], "77"),
        "no store": (["info", "--output", f"{folder}/none.zarr"], "none.zarr"),
        "another run": ([*train, f"{files}/run"], "overwrite"),
        "unknown encoder": ([*train, f"{folder}/run", "--encoder_name", "resnet81"], "resnet18"),
    }


CASES = (
    *("missing file", "truncated file", "labels not aligned", "no CRS", "smaller than a patch"),
    *("all nodata", "polygons elsewhere", "store exists", "bands differ", "no checkpoint"),
    *("holds code", "truncated scene", "unwritable map", "unwritable store", "strange suffix"),
    *("overlap too large", "another grid", "no store", "another run", "class not in the table"),
    "unknown encoder",
)


@pytest.fixture(scope="module")
def bad(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    write_bad_files(files, folder)
    cases = bad_extractions(files, folder) | bad_predictions(files, folder)
    return folder, cases | bad_others(files, folder)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_in_one_clear_message(bad, case, capsys):
    folder, cases = bad
    words, named = cases[case]
    before = sorted(folder.iterdir())
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1
    assert named in captured.err
    assert "Traceback" not in captured.err
    assert sorted(folder.iterdir()) == before, "something was left behind"


def test_every_case_is_tried(bad):
    assert sorted(bad[1]) == sorted(CASES)


def test_debug_shows_where_an_error_came_from(tmp_path):
    with pytest.raises(FileNotFoundError):
        main(["info", "--output", f"{tmp_path}/none.zarr", "--debug"])


def test_the_installed_command_ends_with_the_status(tmp_path):
    command = shutil.which("seg4eo-xr", path=Path(sys.executable).parent)
    assert command
    done = subprocess.run(
        [command, "info", "--output", "none.zarr"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_wrong_words_end_with_status_2():
    assert main(["predict", "--modell", "x"]) == 2


def test_the_run_can_be_read_back(files):
    checkpoint = load_checkpoint(files / "run" / "model_final.pth")
    assert checkpoint.patch_size == 64
    assert checkpoint.contract.bands[0] == "B02"


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("seg4eo-xr 0.")


def test_extract_alone_explains_itself(capsys):
    assert main(["extract", "--help"]) == 0
    assert "--patch_size" in capsys.readouterr().out
