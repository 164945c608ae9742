"""The whole chain on a scene made for it: patches, training, a map, and how good it is."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from seg4eo_xr.evaluation.result import Evaluation

SHAPE = (1024, 1536)
"""Height and width of the demo's scene, in pixels of 10 m."""
TRAINING_COLUMNS = 1024
"""The network sees the columns before; the map is of those after."""
EPOCHS = 10


@dataclass(frozen=True)
class Demo:
    """What a demo left behind.

    Parameters
    ----------
    folder
        Where everything lies.
    evaluation
        The map against the labels that the network has never seen.
    seconds
        How long it took.
    """

    folder: Path
    evaluation: Evaluation
    seconds: float

    def summary(self) -> str:
        """Say what there is to look at, and what to do next."""
        width = max(len(str(self.folder / name)) for name in _LEFT)
        lines = [
            str(self.evaluation),
            "",
            f"The map has a mean IoU of {self.evaluation.miou:.2f} on land that the network never "
            f"saw; all in {self.seconds:.0f} s.",
            "",
            *(f"  {self.folder / name!s:<{width}}  {what}" for name, what in _LEFT.items()),
            "",
            "Open preview.png first. Then try the same on a scene of your own:",
            "",
            *(f"  {command}" for command in _NEXT),
        ]
        return "\n".join(lines)


_LEFT = {
    "preview.png": "scene, labels, map and confidence side by side",
    "map.tif": "the map, with class names and colours (opens in QGIS)",
    "confidence.tif": "probability of the class given, 0 to 1",
    "report.json": "mean IoU, IoU of each class, seconds",
    "scene.tif": "the scene: ten Sentinel-2-like bands",
    "labels.tif": "its land cover",
    "patches.zarr": "the patch store (seg4eo-xr info --dataset_root ...)",
    "run": "the checkpoints and the training log",
}
_NEXT = (
    "seg4eo-xr extract single --image S.tif --label L.tif --output P.zarr --patch_size 256",
    "seg4eo-xr train --dataset_root P.zarr --save_dir RUN  (--no_pretrained without a network)",
    "seg4eo-xr predict --model RUN/model_best_iou.pth --input S.tif --output map.tif",
)


def run_demo(
    folder: str | Path, *, seed: int = 0, overwrite: bool = False, progress: bool = True
) -> Demo:
    """Make a Sentinel-2-like scene, train on its west and map its east.

    Takes two to five minutes on two cores and less than 2 GB.

    Parameters
    ----------
    folder
        Where to leave scene, patches, run, map, preview and report.
    seed
        Seed of the scene, the split and the training.
    overwrite
        Whether to replace what an earlier demo left in `folder`; other files stay.
    progress
        Whether to show progress bars.

    Returns
    -------
    Demo
        With the map's evaluation on the part that the network has never seen.

    Raises
    ------
    FileExistsError
        If `folder` holds something, and `overwrite` is not set.
    """
    from seg4eo_xr.evaluation.confusion import evaluate
    from seg4eo_xr.inference.predict import predict
    from seg4eo_xr.maps.cog import write_cog
    from seg4eo_xr.maps.store import open_map
    from seg4eo_xr.plotting import preview
    from seg4eo_xr.progress import progress_bar

    started = time.perf_counter()
    folder = _new_folder(folder, overwrite=overwrite)
    scene, labels = _write_scene(folder, seed, progress)
    best = _train(folder, scene, labels, seed, progress)
    unseen = {"x": slice(TRAINING_COLUMNS, None)}
    held_out, reference = scene.isel(unseen), labels.isel(unseen)
    with progress_bar("predicting", enabled=progress):
        write_cog(predict(held_out, best), folder / "map.tif", confidence=folder / "confidence.tif")
    confidence = open_map(folder / "confidence.tif")["confidence"]
    result = open_map(folder / "map.tif").assign(confidence=confidence)
    evaluation = evaluate(result, reference)
    preview(held_out, reference, result, folder / "preview.png")
    demo = Demo(folder, evaluation, time.perf_counter() - started)
    _write_report(demo)
    return demo


def _new_folder(folder: str | Path, *, overwrite: bool) -> Path:
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not overwrite:
        raise FileExistsError(
            f"{folder} exists and is not empty; choose another --output, or replace the demo in it "
            "with --overwrite"
        )
    for name in _LEFT:
        left = folder / name
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
    return folder


def _write_scene(folder: Path, seed: int, progress: bool) -> tuple[xr.DataArray, xr.DataArray]:
    """Write scene and labels as a user would have them, and open them again."""
    from dask.base import compute

    from seg4eo_xr.progress import progress_bar
    from seg4eo_xr.scenes.labels import open_labels
    from seg4eo_xr.scenes.open import open_scene
    from seg4eo_xr.testing import synthetic_sentinel2

    with progress_bar("making a scene", enabled=progress):
        made = compute(*synthetic_sentinel2(SHAPE, seed=seed, chunks=256))
    paths = [folder / "scene.tif", folder / "labels.tif"]
    for array, path in zip(made, paths, strict=True):
        array.rio.to_raster(path, tiled=True, compress="deflate")
    scene = open_scene(paths[0], chunks=512)
    return scene, open_labels(paths[1], like=scene)


def _train(
    folder: Path, scene: xr.DataArray, labels: xr.DataArray, seed: int, progress: bool
) -> Path:
    """Cut the west into patches, train on them, and return the best checkpoint."""
    from seg4eo_xr.geometry.splits import RandomSplit
    from seg4eo_xr.patches.extract import extract_patches
    from seg4eo_xr.training.config import TrainConfig
    from seg4eo_xr.training.fit import train

    seen = {"x": slice(TRAINING_COLUMNS)}
    store = extract_patches(
        scene.isel(seen),
        labels.isel(seen),
        folder / "patches.zarr",
        patch_size=64,
        split=RandomSplit(0.85, 0.15, 0.0, random_seed=seed),
        progress=progress,
    )
    config = TrainConfig(
        model="unet",
        encoder_name="resnet18",
        pretrained=False,
        epochs=EPOCHS,
        batch_size=16,
        learning_rate=2e-3,
        scheduler_type="one_cycle",
        random_seed=seed,
    )
    return train(store, folder / "run", config, progress=progress).best_iou_path


def _write_report(demo: Demo) -> None:
    figures = demo.evaluation.to_dict()
    report: dict[str, Any] = {
        "miou": figures["miou"],
        "seconds": round(demo.seconds, 1),
        "iou": {name: scores["iou"] for name, scores in figures["per_class"].items()},
        **figures,
    }
    (demo.folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
