"""Laws of `seg4eo_xr.cli.training`: older command lines run as they are, and folds as well."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from seg4eo_xr.cli import main
from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import synthetic_sentinel2
from seg4eo_xr.training import crossvalidate, fit

if TYPE_CHECKING:
    from seg4eo_xr.training.config import TrainConfig

LANDSAT = Path(__file__).parents[3] / "shared" / "data" / "nc_landsat7"

ALL_FEATURES = """train --mode multiclass --classes 6 --dataset_root landcover_dataset
    --model deeplabv3+ --encoder_name efficientnet-b4 --pretrained --loss_type focal_dice
    --freeze_encoder --freeze_epochs 5 --warmup_epochs 3 --use_amp --log_per_class
    --class_names background water forest urban agriculture bare --epochs 200"""
WATER = """train --mode binary --dataset_root water_dataset --model unet++
    --encoder_name resnet34 --pretrained --loss_type dice --in_channels 10 --epochs 150
    --learning_rate 0.0005"""
IMBALANCE = """train --mode multiclass --classes 5 --dataset_root imbalanced_data --model unet++
    --loss_type focal_dice --focal_gamma 3.0 --use_class_weights --freeze_encoder
    --freeze_epochs 10"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of six classes, of two, and of five of which one has hardly a pixel."""
    folder = tmp_path_factory.mktemp("stores")
    for name, classes in (("landcover_dataset", 6), ("water_dataset", 2), ("imbalanced_data", 6)):
        scene, labels = synthetic_sentinel2((256, 256), seed=3, classes=classes, nodata_wedge=False)
        if name == "imbalanced_data":
            codes = np.where(labels.values > 2, 4, labels.values)
            for code in range(1, 6):  # at least a few pixels each
                codes[10 * code, ::8] = code
            labels = labels.copy(data=codes.astype(np.uint8))
            labels.attrs = {"_FillValue": 255}
        extract_patches(scene, labels, folder / name, patch_size=64, progress=False)
    return folder


@pytest.fixture(scope="module")
def real_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a Landsat scene: six of its classes, water by ten bands, and five classes."""
    folder = tmp_path_factory.mktemp("landsat")
    scene = open_scene(LANDSAT / "lsat7_2002.tif").compute()
    red, near, short = (scene.values[band].astype(float) + 1 for band in (2, 3, 4))
    pairs = ((near, red), (red, short), (short, near))
    indices = np.stack([100 * (1 + (a - b) / (a + b)) for a, b in pairs]).astype(np.uint8)
    named = scene.isel(band=slice(3)).assign_coords(band=["NDVI", "MNDWI", "NDBI"])
    ten = xr.concat([scene, named.copy(data=indices)], "band").assign_attrs(scene.attrs)
    ten.attrs["long_name"] = tuple(ten["band"].values.tolist())
    path = LANDSAT / "landclass96.tif"
    for name, image, unlabelled in (
        ("landcover_dataset", scene, (7,)),
        ("water_dataset", ten, ()),
        ("imbalanced_data", scene, (6, 7)),
    ):
        labels = open_labels(path, like=image, unlabelled=unlabelled).compute()
        if name == "water_dataset":
            water = np.where(labels.values == 255, 255, labels.values == 6).astype(np.uint8)
            labels = labels.copy(data=water)
            labels.attrs = {"_FillValue": 255}
        extract_patches(image, labels, folder / name, patch_size=64, progress=False)
    return folder


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Train a few epochs from random weights, whatever the words say; note what they say."""
    asked: list[TrainConfig] = []
    train, fit_positions = fit.train, fit.fit_positions

    def quick(config: TrainConfig) -> TrainConfig:
        asked.append(config)
        return replace(config, epochs=config.warmup_epochs + 1, pretrained=False)

    def short(store: Any, save_dir: Any, config: TrainConfig, **options: Any) -> Any:
        return train(store, save_dir, quick(config), **options | {"progress": False})

    monkeypatch.setattr(fit, "train", short)
    monkeypatch.setattr(
        crossvalidate,
        "fit_positions",
        lambda store, positions, config, *rest, **options: fit_positions(
            store, positions, quick(config), *rest, **options
        ),
    )
    return asked


LINES = {
    "all features": (
        ALL_FEATURES,
        {
            "model": "deeplabv3+",
            "loss_type": "focal_dice",
            "freeze_epochs": 5,
            "warmup_epochs": 3,
            "use_amp": True,
            "epochs": 200,
            "pretrained": True,
        },
    ),
    "water": (
        WATER,
        {"mode": "binary", "loss_type": "dice", "in_channels": 10, "learning_rate": 5e-4},
    ),
    "imbalance": (
        IMBALANCE,
        {"focal_gamma": 3.0, "use_class_weights": True, "encoder_name": "resnet34"},
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_older_command_lines_run_as_they_are(
    stores: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quickly: list[TrainConfig],
    name: str,
) -> None:
    line, expected = LINES[name]
    monkeypatch.chdir(stores)
    assert main([*shlex.split(line), "--save_dir", str(tmp_path / "run")]) == 0
    config = quickly[0].to_dict()
    assert {option: config[option] for option in expected} == expected
    left = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"model_best_iou.pth", "model_best_loss.pth", "model_final.pth"} < left
    assert len(left) == 7 + 1  # and the state
    if name == "all features":
        classes = load_checkpoint(tmp_path / "run" / "model_final.pth").contract.classes
        assert classes.names[:3] == ("background", "water", "forest")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not LANDSAT.is_dir(), reason="the imagery is not beside the checkout")
@pytest.mark.parametrize("name", LINES)
def test_older_command_lines_run_on_real_pixels(
    real_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, quickly: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for store in real_stores.iterdir():
        (tmp_path / store.name).symlink_to(store)
    assert main(shlex.split(LINES[name][0])) == 0
    report = json.loads((tmp_path / "trained_models" / "model_metrics.json").read_text())
    assert report["test"]["pixels"] > 0


SMALL = """--encoder_name resnet18 --no_pretrained --epochs 1 --batch_size 4 --device cpu"""


def test_folds_are_a_command_and_an_option_of_train(
    stores: Path, tmp_path: Path, quickly: list[TrainConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(f"--dataset_root {stores}/water_dataset --n_splits 2 {SMALL}")
    folder = tmp_path / "folds"
    assert main(["cross-validate", *words, "--save_dir", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "cross-validation over 2 folds" in told
    # the same folds, so the other command finds them done
    assert main(["train", "--val_strategy", "kfold", *words, "--save_dir", str(folder)]) == 0
    assert capsys.readouterr().out == told
    assert len(quickly) == 2
    written = json.loads((folder / "cross_validation.json").read_text())
    assert written["scores"]["mean IoU"]["count"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--n_splits 4", "need --val_strategy kfold"),
        ("--classes 5", "5.*2|2.*5"),
        ("--in_channels 3", "3.*10|10.*3"),
        ("--resume --overwrite", "choose one"),
        ("--val_strategy kfold --n_splits 99", "99 folds"),
        ("--val_strategy kfold --n_splits 1", "n_splits must be at least 2"),
    ],
)
def test_words_that_do_not_fit_end_with_a_message(
    stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    line = f"train --dataset_root {stores}/water_dataset --save_dir {tmp_path}/run {SMALL} {words}"
    assert main(shlex.split(line)) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "run").exists()


def test_a_folder_of_geotiffs_is_to_be_imported_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old" / "Patch" / "train" / "images").mkdir(parents=True)
    line = f"--dataset_root {tmp_path}/old --save_dir {tmp_path}/run"
    for command in ("train", "cross-validate"):
        assert main([command, *shlex.split(line)]) == 2
        assert f"seg4eo-xr import --data_dir {tmp_path}/old" in capsys.readouterr().err


def test_a_folder_without_a_training_to_resume_is_named(tmp_path, capsys):
    assert main(["train", "--resume", "--save_dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path} holds no training to resume" in said
    assert "--dataset_root" in said
