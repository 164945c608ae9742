"""What scenes of one store have in common: bands by name, and the size of their pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from affine import Affine

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.batch import extract_batch
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.pairs import ScenePair
from seg4eo_xr.scenes.conform import ContractWarning, conform
from seg4eo_xr.scenes.contract import Contract
from seg4eo_xr.scenes.grid import place

ALL_TRAIN = RandomSplit(1, 0, 0)
OPTIONS = {"patch_size": 16, "progress": False, "split": ALL_TRAIN}


def pair(tmp_path, name, *, bands=("red", "nir"), crs="EPSG:32633", x=5e5, y=5e6, pixel=10.0):
    """A scene of constant bands, red 1 and nir 2, and its labels, as files."""
    numbers = np.array([{"red": 1, "nir": 2}[band] for band in bands], "u2")
    values = np.broadcast_to(numbers[:, None, None], (2, 32, 32)).copy()
    grid = Affine(pixel, 0, x, 0, -pixel, y)
    scene = place(values, crs, grid).assign_coords(band=list(bands))
    paths = tmp_path / f"{name}.tif", tmp_path / f"{name}_label.tif"
    scene.assign_attrs(long_name=bands).rio.to_raster(paths[0])
    place(np.ones((32, 32), "u1"), crs, grid).rio.to_raster(paths[1])
    return ScenePair(name, *paths)


class TestBandsInAnotherOrder:
    def test_of_a_batch_are_matched_by_name(self, tmp_path):
        pairs = [pair(tmp_path, "a"), pair(tmp_path, "b", bands=("nir", "red"), x=6e5)]
        result = extract_batch(pairs, tmp_path / "p.zarr", **OPTIONS)
        assert not result.failed
        images = result.store.arrays()[0][:]
        assert (images[:, 0] == 1).all()
        assert (images[:, 1] == 2).all()

    def test_of_what_is_appended(self, tmp_path):
        first = pair(tmp_path, "a")
        path = tmp_path / "p.zarr"
        extract_patches(first.image, first.label, path, **OPTIONS)
        for number, way in enumerate(("single", "batch", "command line"), 2):
            other = pair(tmp_path, f"b{number}", bands=("nir", "red"), x=number * 1e5)
            if way == "single":
                extract_patches(other.image, other.label, path, append=True, **OPTIONS)
            elif way == "batch":
                extract_batch([other], path, append=True, **OPTIONS)
            else:
                line = f"extract single --image {other.image} --label {other.label}"
                options = "--patch_size 16 --append"
                assert main([*line.split(), "--output", str(path), *options.split()]) == 0
        images = seg.open_store(path).arrays()[0][:]
        assert len(images) == 16
        assert (images[:, 0] == 1).all()


def conforms(contract, **place_of):
    grid = {"crs": "EPSG:4326", "x": 15.0, "y": 0.0, "pixel": 0.001} | place_of
    scene = place(
        np.ones((2, 20, 20), "u2"),
        grid["crs"],
        Affine(grid["pixel"], 0, grid["x"], 0, -grid["pixel"], grid["y"]),
    ).assign_coords(band=["red", "nir"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        conform(scene, contract)
    return not [one for one in caught if issubclass(one.category, ContractWarning)]


class TestPixelSizes:
    def test_are_those_of_all_training_scenes(self, tmp_path):
        equator = {"crs": "EPSG:4326", "pixel": 0.001, "x": 15.0}
        pairs = [pair(tmp_path, "a", y=0.0, **equator), pair(tmp_path, "b", y=60.0, **equator)]
        with pytest.warns(seg.Seg4EOWarning, match=r"55\.\d+ × 111.*in b and 111.* in a.*--resol"):
            result = extract_batch(pairs, tmp_path / "p.zarr", **OPTIONS)
        contract = result.store.contract
        assert contract.ground_sample_distance == pytest.approx((111.3, 110.6), rel=1e-3)
        assert contract.pixel_range == pytest.approx((55.8, 110.6, 111.3, 111.4), rel=2e-3)
        assert Contract.from_dict(contract.to_dict()) == contract
        assert "55.8" in result.store.describe()
        for latitude, fits in ((0.0, True), (45.0, True), (60.0, True), (75.0, False)):
            assert conforms(contract, y=latitude) is fits

    def test_that_are_appended_widen_the_range(self, tmp_path):
        first, second = pair(tmp_path, "a"), pair(tmp_path, "b", pixel=60.0, x=6e5)
        store = extract_patches(first.image, first.label, tmp_path / "p.zarr", **OPTIONS)
        assert store.contract.pixel_range == ()
        with pytest.warns(seg.Seg4EOWarning, match=r"10 × 10 m in the store and 60.* × 60.* m in"):
            extract_patches(second.image, second.label, tmp_path / "p.zarr", append=True, **OPTIONS)
        contract = seg.open_store(tmp_path / "p.zarr").contract
        assert contract.pixel_range == pytest.approx((10, 10, 60, 60), rel=1e-3)
        assert contract.ground_sample_distance == store.contract.ground_sample_distance

    @pytest.mark.filterwarnings("ignore::seg4eo_xr.LeakageWarning")
    def test_of_scenes_without_training_patches_do_not_count(self, tmp_path):
        pairs = [pair(tmp_path, "a"), pair(tmp_path, "b", pixel=60.0, x=6e5)]
        options = OPTIONS | {"split": seg.SceneSplit(0.5, 0.0, 0.5)}
        with pytest.warns(seg.Seg4EOWarning, match="pixels are"):
            result = extract_batch(pairs, tmp_path / "p.zarr", **options)
        assert result.store.contract.pixel_range == ()

    def test_of_contracts_written_before(self):
        from seg4eo_xr.testing import plain_contract

        contract = plain_contract(["red"], seg.ClassTable.from_codes([0, 1]))
        older = {k: v for k, v in contract.to_dict().items() if k != "pixel_range"}
        assert Contract.from_dict(older) == contract


def test_patches_on_both_sides_of_180_degrees_leak(tmp_path):
    place_of = {"crs": "EPSG:4326", "pixel": 0.001, "y": 0.0}
    pairs = [
        pair(tmp_path, "east", x=179.984, **place_of),  # to 180.016
        pair(tmp_path, "west", x=-180.0, **place_of),
        pair(tmp_path, "far", x=10.0, **place_of),
    ]
    with pytest.warns(seg.LeakageWarning, match="share ground with training patches"):
        extract_batch(pairs, tmp_path / "p.zarr", **OPTIONS | {"split": RandomSplit(0.5, 0, 0.5)})
    split = seg.SpatialSplit(block=16, buffer=1, train_ratio=0.5, val_ratio=0, test_ratio=0.5)
    # No ground is shared, and images of one number are no copies: a warning would be an error.
    result = extract_batch(pairs, tmp_path / "q.zarr", **OPTIONS | {"split": split})
    store = result.store
    x = store.coordinate("patch_x") % 360
    for name, other in (("train", "test"), ("test", "train")):
        one, two = x[store.indices(name)], x[store.indices(other)]
        apart = np.abs(one[:, None] - two)
        rows = store.coordinate("row")
        same_row = rows[store.indices(name)][:, None] == rows[store.indices(other)]
        assert (apart[same_row] > 0.0155).all()
