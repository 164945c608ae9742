"""Laws of trainings that are refused: before anything is written, with the remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from toy_training import tiny_network

from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training import checks
from seg4eo_xr.training.config import TrainConfig, TrainingWarning
from seg4eo_xr.training.crossvalidate import cross_validate
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.losses import SegmentationLoss

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seg4eo_xr.patches.store import PatchStore

QUICK = TrainConfig(encoder_name="resnet18", pretrained=False, epochs=1, batch_size=8, device="cpu")


@pytest.fixture
def tiny() -> Iterator[None]:
    with tiny_network():
        yield


@pytest.mark.usefixtures("tiny")
def test_a_diverged_training_says_so(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SegmentationLoss, "forward", lambda self, logits, label: logits.mean() * float("nan")
    )
    with pytest.raises(ValueError, match=r"diverged.*--learning_rate"):
        train(patches, tmp_path / "run", QUICK, progress=False)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 999}, r"batch_size 999 is larger.*\(--batch_size\) to at most 27"),
        ({"mode": "binary"}, "tells 2 classes apart"),
        ({"device": "mps"}, "device 'mps' is not available"),
        ({"classes": 5}, r"--classes says 5, but .*store.zarr has 6 classes \(water, forest"),
        ({"in_channels": 3}, "--in_channels says 3, but .* has 10 bands"),
        ({"class_names": ("a", "b")}, "--class_names says 2"),
        ({"class_weights": (1.0, 2.0)}, "class_weights has 2 numbers, the store has 6 classes"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(
    patches: PatchStore, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(patches, tmp_path / "run", replace(QUICK, **changes), progress=False)
    assert not (tmp_path / "run").exists()


def test_an_unknown_encoder_is_refused(patches: PatchStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown encoder 'resnet19'.*resnet18"):
        train(patches, tmp_path / "run", replace(QUICK, encoder_name="resnet19"), progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_store_without_a_split_is_refused(
    patches: PatchStore, tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = type(patches).indices
    monkeypatch.setattr(
        type(patches), "indices", lambda s, name: original(s, name)[: 0 if name == split else None]
    )
    with pytest.raises(ValueError, match=f"store.zarr has no {split} patches.*_ratio"):
        train(patches, tmp_path / "run", QUICK, progress=False)


def test_a_store_without_a_label_is_refused(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "class_pixels", lambda *_: np.zeros(6, np.int64))
    with pytest.raises(ValueError, match="no pixel of the train patches"):
        train(patches, tmp_path / "run", QUICK, progress=False)


def test_a_store_of_one_class_is_refused_and_a_class_never_seen_is_named(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = {split: patches.indices(split) for split in ("train", "validation")}
    pixels = np.array([7, 0, 0, 0, 0, 0])
    monkeypatch.setattr(checks, "class_pixels", lambda *_: pixels)
    with pytest.raises(ValueError, match="are 'water', so there is nothing to tell apart"):
        train(patches, tmp_path / "run", QUICK, progress=False)
    pixels[1] = 1
    unseen = "grassland, cropland, bare soil, built-up: they cannot be learned"
    with pytest.warns(TrainingWarning, match=unseen):
        checks.require_patches(patches, positions, QUICK)


def test_a_file_in_place_of_the_folder_is_refused(patches: PatchStore, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("here")
    with pytest.raises(NotADirectoryError, match="is a file"):
        train(patches, tmp_path / "run", QUICK, progress=False)
    with pytest.raises(OSError, match="cannot write the run"):
        train(patches, tmp_path / "run" / "inner", QUICK, progress=False)


def test_options_that_are_no_set_are_told_how_to_be_one(
    patches: PatchStore, tmp_path: Path
) -> None:
    told = r"a TrainConfig is wanted, got dict; write TrainConfig\(epochs=3\)"
    for run in (train, cross_validate):
        with pytest.raises(TypeError, match=told):
            run(patches, tmp_path / "run", {"epochs": 3})  # type: ignore[operator]
        with pytest.raises(TypeError, match=r"'epoch'; did you mean 'epochs'\?"):
            run(patches, tmp_path / "run", epoch=3)  # type: ignore[operator]
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tiny")
def test_options_may_be_given_one_by_one(patches: PatchStore, tmp_path: Path) -> None:
    run = train(patches, tmp_path / "run", QUICK, random_seed=7, progress=False)
    assert load_checkpoint(run.final_path).config["random_seed"] == 7


@pytest.mark.usefixtures("tiny")
def test_a_training_that_is_interrupted_at_once_leaves_no_folder(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SegmentationLoss, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(patches, tmp_path / "run", QUICK, progress=False)
    assert "no epoch was finished" in caught.value.__notes__[0]
    assert not (tmp_path / "run").exists()
