"""What an extraction says of nodata that is probably not meant."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine

import seg4eo_xr as seg
from seg4eo_xr.cli import main

SIDE = 128
GRID = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
OPTIONS = {"patch_size": 64, "split": seg.RandomSplit(1, 0, 0), "progress": False}


def write(path, values, **profile):
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, **GRID, **profile}
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file:
        file.write(values)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 250, (3, SIDE, SIDE)).astype(np.uint8)


@pytest.fixture
def labels(tmp_path):
    codes = np.zeros((SIDE, SIDE), np.uint8)
    codes[20:60, 20:60] = 1
    return write(tmp_path / "labels.tif", codes)


def extracted(scene, labels, path):
    """Texts of the warnings of an extraction."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", seg.SceneWarning)
        seg.extract_patches(scene, labels, path, **OPTIONS)
    return [str(one.message) for one in caught]


class TestNodataEatsAClass:
    def test_the_class_its_share_and_the_ways_out_are_named(self, image, labels, tmp_path):
        image[:, 20:50, 20:60] = 255
        scene = write(tmp_path / "white.tif", image, nodata=255)
        (text,) = extracted(scene, labels, tmp_path / "a.zarr")
        assert re.search(r"75% of the labelled pixels of class 1 .*nodata \(255\)", text)
        assert "but 0.0% of those of the other classes" in text
        assert "--nodata (nodata=)" in text
        assert "--nodata_rule all" in text

    def test_a_class_that_vanishes_wholly_is_named_too(self, image, labels, tmp_path):
        image[:, 20:60, 20:60] = 255
        scene = write(tmp_path / "white.tif", image, nodata=255)
        (text,) = extracted(scene, labels, tmp_path / "a.zarr")
        assert "100% of the labelled pixels of class 1" in text

    def test_the_edge_of_a_scene_is_no_matter(self, image, labels, tmp_path):
        image[:, np.tri(SIDE, k=30, dtype=bool)[::-1]] = 255
        scene = write(tmp_path / "footprint.tif", image, nodata=255)
        assert extracted(scene, labels, tmp_path / "a.zarr") == []

    def test_what_takes_of_all_classes_alike_is_no_matter(self, image, labels, tmp_path):
        image[:, ::2, ::2] = 255
        scene = write(tmp_path / "holes.tif", image, nodata=255)
        assert extracted(scene, labels, tmp_path / "a.zarr") == []

    def test_the_shell_says_it_in_one_line(self, image, labels, tmp_path, capsys):
        image[:, 20:50, 20:60] = 255
        scene = write(tmp_path / "white.tif", image, nodata=255)
        command = ["extract", "single", "--image", scene, "--label", labels]
        command += ["--output", tmp_path / "a.zarr", "--patch_size", 64]
        assert main(list(map(str, command))) == 0
        assert "warning: 75% of the labelled pixels of class 1" in capsys.readouterr().err


class TestUndeclaredMargins:
    @pytest.mark.parametrize("number", [0, 255])
    def test_the_share_of_a_margin_and_how_to_declare_it(self, image, labels, tmp_path, number):
        image[:, :, :40] = number
        scene = write(tmp_path / "margin.tif", image)
        (text,) = extracted(scene, labels, tmp_path / "a.zarr")
        assert re.search(rf"31% of the pixels of the patches are {number} in all bands", text)
        assert f"--nodata {number} (nodata={number})" in text
        assert extracted(seg.open_scene(scene, nodata=number), labels, tmp_path / "b.zarr") == []

    def test_dark_and_bright_things_inside_are_no_margin(self, image, labels, tmp_path):
        image[:, 40:60, 40:60] = 0
        image[:, 70:90, 70:90] = 255
        scene = write(tmp_path / "things.tif", image)
        assert extracted(scene, labels, tmp_path / "a.zarr") == []

    def test_statistics_of_bands_say_it_once(self, image, tmp_path):
        image[:, :, :40] = 255
        scene = seg.open_scene(write(tmp_path / "margin.tif", image), chunks=64)
        with pytest.warns(seg.SceneWarning, match="--nodata 255") as caught:
            seg.band_statistics(scene)
        assert len(caught) == 1
