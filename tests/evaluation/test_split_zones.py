from __future__ import annotations

import json

import numpy as np
import pytest

import seg4eo_xr as seg
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    scene, labels = synthetic_sentinel2((256, 320), seed=4)
    folder = tmp_path_factory.mktemp("splits")
    stores = {
        name: seg.extract_patches(
            scene, labels, folder / f"{name}.zarr", patch_size=32, split=split, progress=False
        )
        for name, split in (
            ("random", seg.RandomSplit(0.5, 0.25, 0.25)),
            ("apart", seg.SpatialSplit(64, 33, 0.5, 0.25, 0.25)),
        )
    }
    return scene, labels, stores


def test_each_split_is_judged_on_its_own_ground(ground):
    _, labels, stores = ground
    store = stores["random"]
    codes = labels.values.copy()
    row, col = (store.coordinate(name) for name in ("row", "col"))
    # a map that is wrong on the test patches, and nowhere else
    for position in store.indices("test"):
        place = (slice(row[position], row[position] + 32), slice(col[position], col[position] + 32))
        codes[place] = np.where(codes[place] == 1, 2, 1)
    found = seg.evaluate(labels.copy(data=codes), labels, zones=store)
    assert list(found.zones) == ["train", "validation", "test"]
    assert [zone.accuracy for zone in found.zones.values()] == [1, 1, 0]
    for name, zone in found.zones.items():
        assert zone.pixels >= sum(store.class_counts(name).values()) > 0


def test_the_leakage_is_told_beside_the_scores(ground, tmp_path):
    _, labels, stores = ground
    near = seg.evaluate(labels, labels, zones=str(stores["random"].path))
    assert "warning: test patches lie 1 px from training patches" in repr(near)
    assert "flatters" in near._repr_html_()
    apart = seg.evaluate(labels, labels, zones=stores["apart"])
    assert "warning" not in repr(apart)
    assert "test and train: " in repr(apart)
    report = json.loads(near.to_json(tmp_path / "report.json").read_text())
    assert report["leakage"]["distances"]["test-train"] == 1
    assert len(report["leakage"]["warnings"]) == 1
    assert "leakage" not in seg.evaluate(labels, labels).to_dict()


def test_a_zarr_store_of_another_kind_is_no_zone(ground, tmp_path):
    _, labels, _ = ground
    path = seg.write_zarr(labels.to_dataset(name="classes"), tmp_path / "map.zarr")
    with pytest.raises(ValueError, match="no patch store"):
        seg.evaluate(labels, labels, zones=path)
