"""A story on real imagery: train, calibrate, map, evaluate, areas with errors.

Landsat 7 over North Carolina and its land cover of seven classes, which lie beside the checkout if
at all. With SEG4EO_STORY set to a folder, everything is left there to look at.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import seg4eo_xr as seg

DATA = Path(__file__).parents[2] / "shared" / "data" / "nc_landsat7"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.timeout(900),
    # a class that nobody labelled here is never learned, and one that the map never shows has no
    # stratum: points of other strata tell its area
    pytest.mark.filterwarnings("ignore::seg4eo_xr.SampleWarning"),
    pytest.mark.filterwarnings("ignore::seg4eo_xr.TrainingWarning"),
    pytest.mark.skipif(not DATA.is_dir(), reason="the imagery is not beside the checkout"),
]


def test_a_map_that_people_can_trust(tmp_path):
    folder = Path(os.environ.get("SEG4EO_STORY", tmp_path))
    scene = seg.open_scene(DATA / "lsat7_2002.tif")
    labels = seg.open_labels(DATA / "landclass96.tif", like=scene)

    # Patches of blocks that are kept apart, so that the test is one of new ground.
    store = seg.extract_patches(
        scene,
        labels,
        folder / "patches.zarr",
        patch_size=32,
        split=seg.SpatialSplit(block=64, buffer=8, train_ratio=0.6, val_ratio=0.2, test_ratio=0.2),
        overwrite=True,
        progress=False,
    )
    assert store.leakage.distances["test-train"] > 8

    config = seg.TrainConfig(
        encoder_name="resnet18", pretrained=False, epochs=6, learning_rate=2e-3, device="cpu"
    )
    run = seg.train(store, folder / "run", config, progress=False, overwrite=True)
    assert "test and train: " in repr(run)

    # How sure the network may be.
    calibration = seg.calibrate(
        run.best_iou_path, store, output=folder / "calibrated.pth", overwrite=True, device="cpu"
    )
    calibration.plot(path=folder / "calibration.png")
    before, after = (part["test"].reliability for part in (calibration.before, calibration.after))
    assert after.accuracy == before.accuracy
    assert calibration.after["validation"].nll <= calibration.before["validation"].nll

    # The map, where it is unsure, and where its windows disagree.
    wanted = ("classes", "confidence", "entropy", "disagreement")
    prediction = seg.predict(scene, folder / "calibrated.pth", layers=wanted, device="cpu")
    assert prediction.attrs["temperature"] == calibration.temperature
    seg.write_zarr(prediction, folder / "map.zarr", overwrite=True)
    result = seg.open_map(folder / "map.zarr")
    assert np.nanmax(result["disagreement"].values) <= 1

    # Against the labels, each split on its own ground, with what the split lets through.
    evaluation = seg.evaluate(result, labels, zones=store, border_widths=(1, 3))
    evaluation.plot(path=folder / "evaluation.png")
    test = evaluation.zones["test"]
    assert 0 < test.miou < 1
    assert "test and train: " in repr(evaluation)
    unfamiliar = labels.where(_ground(store, labels, "test"), 255).assign_attrs(labels.attrs)
    unfamiliar = unfamiliar.astype(labels.dtype).rio.write_nodata(255)
    stated = seg.reliability(result, unfamiliar)
    stated.plot(path=folder / "reliability.png")
    assert stated.accuracy == pytest.approx(test.accuracy)

    # What there is of each class, with errors, from points that a person would judge.
    sample = seg.draw_sample(result, size=500, minimum=20, seed=1)
    sample["reference"] = reference = labels.values[sample["row"], sample["col"]]
    estimate = seg.estimate_areas(sample[reference != 255])

    told = [f"{one!r}\n" for one in (run, calibration, evaluation, stated, estimate)]
    (folder / "story.txt").write_text("\n".join(told))
    for picture in ("calibration.png", "evaluation.png", "reliability.png"):
        assert (folder / picture).stat().st_size > 20_000


def _ground(store, labels, split):
    """Pixels of the patches of a split."""
    mask = np.zeros(labels.shape, bool)
    row, col = (store.coordinate(name) for name in ("row", "col"))
    for position in store.indices(split):
        mask[row[position] : row[position] + 32, col[position] : col[position] + 32] = True
    return labels.copy(data=mask)
