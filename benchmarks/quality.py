"""How good a map of real pixels is: a network and a random forest, trained and tested alike.

Drone imagery of Kampala at 30 cm, with building footprints: both learn on the left two thirds and
are tested on the right third, which they have never seen. The forest sees each pixel's colours,
their local means and deviations on two scales. The network starts from random weights, so that no
network connection is needed.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from harness import emit, seconds_of
from rasterio.enums import Resampling
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier

import seg4eo_xr as seg
from seg4eo_xr.training.metrics import Scores, scores

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.footprints import Footprints

DATA = Path(__file__).parents[2] / "shared" / "data" / "kampala_oam_buildings"
COARSER = 4  # of 7.5 cm pixels
PATCH, STRIDE = 64, 32
VALIDATION_FROM, TEST_FROM = 416, 512  # columns at 30 cm
FOREST_PIXELS = 60_000
WINDOWS = (5, 15)  # sides of the neighbourhoods that the forest sees


@dataclass(frozen=True)
class ByColumn:
    """Left columns train, some between validate, the right ones test; none straddles."""

    validation_from: int = VALIDATION_FROM
    test_from: int = TEST_FROM

    def assign(self, patches: Footprints) -> NDArray[np.str_]:
        """Name each patch's split."""
        ends = patches.cols + patches.widths
        names = np.full(len(patches), "", "<U10")
        names[ends <= self.validation_from] = "train"
        within = (patches.cols >= self.validation_from) & (ends <= self.test_from)
        names[within] = "validation"
        names[patches.cols >= self.test_from] = "test"
        return names


def read_data(data: Path) -> tuple[xr.DataArray, xr.DataArray]:
    """Scene and labels at 30 cm."""
    scene = seg.open_scene(data / "kampala_rgb.tif").compute()
    shape = tuple(side // COARSER for side in scene.shape[1:])
    coarse = scene.rio.reproject(scene.rio.crs, shape=shape, resampling=Resampling.average)
    coarse.attrs = scene.attrs
    return coarse, seg.open_labels(data / "buildings.geojson", like=coarse).compute()


def network_map(
    scene: xr.DataArray, labels: xr.DataArray, folder: Path, epochs: int
) -> NDArray[np.uint8]:
    """Train a network on the left and map the right."""
    options = seg.ExtractOptions(patch_size=PATCH, stride=STRIDE)
    store = seg.extract_patches(
        scene, labels, folder / "patches.zarr", options, split=ByColumn(), progress=False
    )
    config = seg.TrainConfig(
        encoder_name="resnet18",
        pretrained=False,
        epochs=epochs,
        patience=epochs,
        learning_rate=2e-3,
        scheduler_type="one_cycle",
    )
    run = seg.train(store, folder / "run", config)
    right = scene.isel(x=slice(TEST_FROM, None))
    return np.asarray(seg.predict(right, run.best_iou_path)["classes"])


def forest_map(scene: xr.DataArray, labels: xr.DataArray) -> NDArray[np.uint8]:
    """Train a random forest on the left and map the right."""
    features = neighbourhoods(scene.values.astype(np.float32) / 255)
    left = features[:, :, :TEST_FROM].reshape(len(features), -1).T
    known = labels.values[:, :TEST_FROM].ravel()
    chosen = np.random.default_rng(0).permutation(len(left))[:FOREST_PIXELS]
    forest = RandomForestClassifier(200, min_samples_leaf=5, n_jobs=-1, random_state=0)
    forest.fit(left[chosen], known[chosen])
    right = features[:, :, TEST_FROM:]
    return forest.predict(right.reshape(len(features), -1).T).reshape(right.shape[1:])


def neighbourhoods(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours, and their means and deviations around each pixel, ``(feature, y, x)``."""
    found = [image]
    for side in WINDOWS:
        mean = np.stack([uniform_filter(band, side) for band in image])
        square = np.stack([uniform_filter(band**2, side) for band in image])
        found += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return np.concatenate(found)


def compare(found: NDArray[np.uint8], labels: xr.DataArray) -> Scores:
    """Score a map of the right third."""
    truth = labels.values[:, TEST_FROM:].astype(np.int64)
    return scores(np.bincount((2 * truth + found).ravel(), minlength=4).reshape(2, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few epochs")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the imagery")
    options = parser.parse_args()
    if not options.data.is_dir():
        emit("quality", "kampala", "skipped", f"no folder {options.data}", "")
        return
    scene, labels = read_data(options.data)
    maps: dict[str, NDArray[np.uint8]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "network": lambda: network_map(
                scene, labels, Path(folder), 12 if options.quick else 25
            ),
            "random forest": lambda: forest_map(scene, labels),
        }
        for case, way in ways.items():
            seconds = seconds_of(lambda way=way, case=case: maps.update({case: way()}))
            emit("quality", case, "seconds", seconds, "s")
    found = {case: compare(result, labels) for case, result in maps.items()}
    for case, its in found.items():
        emit("quality", case, "iou_buildings", float(its.iou[1]), "")
        emit("quality", case, "f1_buildings", float(its.f1[1]), "")
        emit("quality", case, "miou", its.miou, "")
    ratio = found["network"].iou[1] / found["random forest"].iou[1]
    emit("quality", "kampala", "network/random_forest", float(ratio), "ratio of building IoU")


if __name__ == "__main__":
    main()
