"""The command-line chain on real imagery, which lies beside the checkout if at all."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from seg4eo_xr.cli import main

DATA = Path(__file__).parents[2] / "shared" / "data"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the imagery is not beside the checkout"),
]


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def cut(file: Path, folder: Path, window: Window) -> Path:
    """Write a part of a raster, on its own pixels."""
    with rasterio.open(file) as source:
        place = {"transform": source.window_transform(window)}
        shape = {"width": window.width, "height": window.height}
        with rasterio.open(folder / file.name, "w", **source.profile | place | shape) as part:
            part.write(source.read(window=window))
    return folder / file.name


def chain(folder: Path, image: Path, label: Path, patch_size: int) -> dict:
    """Extract, look, train, map and evaluate with small settings; the report of the map."""
    store, run_folder, result = folder / "patches.zarr", folder / "run", folder / "map.tif"
    run("extract", "single", "--image", image, "--label", label, "--output", store,
        "--patch_size", patch_size)  # fmt: skip
    run("info", "--output", store)
    run("train", "--dataset_root", store, "--model", "unet", "--encoder_name", "resnet18",
        "--no_pretrained", "--epochs", 2, "--save_dir", run_folder)  # fmt: skip
    run("predict", "--model", run_folder / "model_best_iou.pth", "--input", image,
        "--output", result, "--save_confidence")  # fmt: skip
    run("evaluate", "--prediction", result, "--reference", label, "--output",
        folder / "report.json")  # fmt: skip
    return json.loads((folder / "report.json").read_text())


def test_landsat_with_dense_land_cover(tmp_path):
    folder = DATA / "nc_landsat7"
    image, label = folder / "lsat7_2002.tif", folder / "landclass96.tif"
    report = chain(tmp_path, image, label, 64)
    assert report["classes"]["codes"] == [1, 2, 3, 4, 5, 6, 7]
    with (
        rasterio.open(image) as scene,
        rasterio.open(label) as reference,
        rasterio.open(tmp_path / "map.tif") as result,
        rasterio.open(tmp_path / "map_confidence.tif") as confidence,
    ):
        assert result.crs == scene.crs
        assert result.transform == scene.transform
        # The scene has no nodata, so neither has the map.
        assert set(np.unique(result.read(1))) <= set(range(1, 8))
        counted = (reference.read(1) != 255) & (result.read(1) != 255)
        assert report["pixels"] == np.count_nonzero(counted)
        sure = confidence.read(1)
        assert (sure >= 1 / 7 - 1e-6).all()
        assert (sure <= 1).all()


def test_drone_imagery_with_polygons_of_another_crs(tmp_path):
    folder = DATA / "kampala_oam_buildings"
    image, mask = (
        cut(folder / f"kampala_{name}.tif", tmp_path, Window(2048, 768, 1024, 1024))
        for name in ("rgb", "buildings_mask")
    )
    report = chain(tmp_path, image, folder / "buildings.geojson", 256)
    assert report["classes"]["codes"] == [0, 1]
    with (
        rasterio.open(image) as scene,
        rasterio.open(mask) as truth,
        rasterio.open(tmp_path / "map.tif") as result,
    ):
        assert result.crs == scene.crs
        assert result.transform == scene.transform
        assert report["pixels"] == scene.width * scene.height
        buildings = np.count_nonzero(truth.read(1))
    assert np.sum(report["confusion_matrix"][1]) == buildings


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_network_finds_buildings_as_well_as_a_random_forest():
    script = Path(__file__).parents[1] / "benchmarks" / "quality.py"
    command = [sys.executable, script, "--quick", "--data", DATA / "kampala_oam_buildings"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    iou = {line["case"]: line["value"] for line in lines if line["measure"] == "iou_buildings"}
    assert set(iou) == {"network", "random forest"}
    assert lines[-1]["measure"] == "network/random_forest"
    assert iou["network"] > 0.2
