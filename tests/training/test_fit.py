from __future__ import annotations

import csv
import logging
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args
from unittest import mock

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from toy_training import noted_batches, tiny_network

from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.testing import synthetic_sentinel2
from seg4eo_xr.training import fit
from seg4eo_xr.training import task as task_module
from seg4eo_xr.training.config import LossType, TrainConfig
from seg4eo_xr.training.fit import TrainingRun, fit_positions, train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seg4eo_xr.patches.store import PatchStore

QUICK = TrainConfig(
    encoder_name="resnet18",
    pretrained=False,
    epochs=3,
    batch_size=8,
    learning_rate=2e-3,
    scheduler_type="one_cycle",
    device="cpu",
)
FILES = {
    "model_best_iou.pth",
    "model_best_loss.pth",
    "model_final.pth",
    "model_metrics.json",
    "model_per_class_iou.png",
    "model_training_log.csv",
    "training_state.ckpt",  # so that the run can have more epochs
    "model_training_plot.png",
}


@pytest.fixture(scope="module")
def run(patches: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    with tiny_network():
        return train(patches, tmp_path_factory.mktemp("run") / "first", QUICK, progress=False)


@pytest.fixture
def real_network() -> None:
    """Marks the tests that build the network of the options."""


@pytest.fixture(autouse=True)
def _tiny_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """All other tests train a tiny one."""
    if "real_network" in request.fixturenames:
        yield
    else:
        with tiny_network():
            yield


def rows_of(run: TrainingRun) -> list[dict[str, str]]:
    with run.log_path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_leaves_its_files_and_nothing_else(run: TrainingRun) -> None:
    assert {file.name for file in run.save_dir.iterdir()} == FILES
    assert run.best_iou_path.parent == run.save_dir


def test_the_log_has_a_row_an_epoch(run: TrainingRun, patches: PatchStore) -> None:
    rows = rows_of(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    classes = [f"iou_{name}" for name in patches.contract.classes.names]
    known = ["epoch", "train_loss", "val_loss", "val_miou", *classes, "learning_rate"]
    assert list(rows[0]) == known
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    there = [pixels > 0 for pixels in patches.class_counts("validation").values()]
    ious = np.array([float(rows[0][name]) for name in classes])[there]
    assert ious.mean() == pytest.approx(float(rows[0]["val_miou"]), rel=1e-4)


def test_the_best_files_are_those_of_the_best_epochs(run: TrainingRun) -> None:
    rows = rows_of(run)
    by_iou = load_checkpoint(run.best_iou_path).metrics
    by_loss = load_checkpoint(run.best_loss_path).metrics
    assert by_iou["epoch"] == 1 + max(range(3), key=lambda i: float(rows[i]["val_miou"]))
    assert by_loss["epoch"] == 1 + min(range(3), key=lambda i: float(rows[i]["val_loss"]))
    assert run.metrics["best_val_iou"] == by_iou["val_miou"] == by_iou["best_val_iou"]
    assert run.metrics["best_val_loss"] == by_loss["val_loss"]
    assert load_checkpoint(run.final_path).metrics["epoch"] == 3


def test_the_checkpoints_carry_contract_and_options(run: TrainingRun, patches: PatchStore) -> None:
    found = load_checkpoint(run.final_path)
    assert found.contract == patches.contract
    assert (found.patch_size, found.mode) == (64, "multiclass")
    assert TrainConfig.from_dict(found.config) == replace(QUICK, mode="multiclass")
    assert found.build()(torch.zeros(1, 10, 64, 64)).shape == (1, 6, 64, 64)


def test_only_labelled_pixels_with_data_are_scored(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    score = task_module.scores
    monkeypatch.setattr(task_module, "scores", lambda m: found.append(m.sum(1)) or score(m))
    train(patches, tmp_path, replace(QUICK, epochs=1), progress=False)
    expected = patches.class_counts("validation")
    assert found[0].tolist() == list(expected.values())
    assert sum(expected.values()) < len(patches.indices("validation")) * patches.patch_size**2


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_seed_and_store_give_the_same_weights(
    run: TrainingRun, patches: PatchStore, tmp_path: Path, threads: int
) -> None:
    torch.manual_seed(threads)  # the caller's generator is to have no part in it
    again = train(patches.path, tmp_path, replace(QUICK, threads=threads), progress=False)
    first, second = (load_checkpoint(one.final_path).state_dict for one in (run, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert rows_of(run) == rows_of(again)


def test_the_callers_generators_levels_and_folders_are_left_alone(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    level = logging.getLogger("lightning.pytorch").level
    train(patches, "run", replace(QUICK, epochs=1), progress=False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    assert logging.getLogger("lightning.pytorch").level == level
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    assert capfd.readouterr() == ("", "")


def test_the_bar_shows_loss_and_miou_on_standard_error(
    patches: PatchStore, tmp_path: Path, capfd: Any
) -> None:
    train(patches, tmp_path, replace(QUICK, epochs=2))
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 2/2" in err
    assert "mIoU=" in err
    assert "loss=" in err
    assert "Lightning" not in err


def test_each_epoch_reads_in_another_order(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    step = fit.SegmentationTask.training_step

    def spy(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(batch["label"][:, ::16, ::16].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(fit.SegmentationTask, "training_step", spy)
    train(patches, tmp_path, replace(QUICK, epochs=2), progress=False)
    half = len(seen) // 2
    assert half == len(patches.indices("train")) // 8
    assert not torch.equal(torch.cat(seen[:half]), torch.cat(seen[half:]))


def test_a_training_that_gets_no_better_stops_early(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: closure and closure())
    config = replace(QUICK, epochs=6, patience=1, scheduler_type="reduce_plateau")
    stopped = train(patches, tmp_path, config, progress=False)
    assert len(rows_of(stopped)) < 6
    assert load_checkpoint(stopped.final_path).metrics["epoch"] == len(rows_of(stopped))


@pytest.mark.usefixtures("real_network")
def test_two_classes_are_told_apart_by_one_output(tmp_path: Path) -> None:
    scene, labels = synthetic_sentinel2((256, 256), seed=2)
    codes = forest_or_not(labels)
    store = extract_patches(scene, codes, tmp_path / "s.zarr", patch_size=64, progress=False)
    done = train(
        store, tmp_path / "run", replace(QUICK, batch_size=4, use_amp=True), progress=False
    )
    found = load_checkpoint(done.best_iou_path)
    assert (found.mode, found.spec.out_channels) == ("binary", 1)
    assert len(found.metrics["per_class_iou"]) == 2


def forest_or_not(labels: Any) -> Any:
    """Turn land cover into forest (1) and all else (0), unlabelled pixels kept."""
    codes = labels.where((labels == 2) | (labels == 255), 0)
    codes = codes.where(codes != 2, 1).astype("uint8")
    codes.attrs = {"_FillValue": 255}
    return codes


def test_only_the_positions_asked_for_are_trained_on(patches: PatchStore, tmp_path: Path) -> None:
    positions = {
        "train": patches.indices("train")[:9],
        "validation": patches.indices("train")[9:12],
    }
    with tiny_network(), noted_batches() as seen:
        fit_positions(patches, positions, replace(QUICK, batch_size=3), tmp_path, progress=False)
    sums = [int(np.asarray(patches.arrays()[0][i], np.int64).sum()) for i in positions["train"]]
    for epoch in range(3):
        steps = [image for step, image, _ in seen if step // 3 == epoch]
        assert sum(steps) == sum(sums)


def test_class_names_of_the_options_go_into_the_checkpoint(
    patches: PatchStore, tmp_path: Path
) -> None:
    names = ("W", "F", "G", "C", "B", "U")
    options = {"classes": 6, "in_channels": 10, "class_names": names, "epochs": 1}
    with tiny_network():
        done = train(patches, tmp_path, replace(QUICK, **options), progress=False)
        assert load_checkpoint(done.final_path).contract.classes.names == names
    assert list(done.metrics["per_class_iou"]) == list(names)


@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_each_loss_trains_with_class_weights_and_falls(
    patches: PatchStore, tmp_path: Path, loss_type: LossType
) -> None:
    config = replace(QUICK, loss_type=loss_type, use_class_weights=True, epochs=4)
    with tiny_network(random=False):
        done = train(patches, tmp_path, replace(config, learning_rate=0.05), progress=False)
    losses = [float(row["train_loss"]) for row in rows_of(done)]
    assert losses[-1] < losses[0]


def test_a_logger_that_is_not_installed_is_named(patches: PatchStore, tmp_path: Path) -> None:
    with (
        mock.patch("seg4eo_xr.training.loggers.find_spec", return_value=None),
        pytest.raises(ImportError, match="pip install wandb"),
    ):
        train(patches, tmp_path / "run", replace(QUICK, logger=("wandb",)), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_logger_is_told_every_epoch(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    class Told(DummyLogger):
        def log_metrics(self, metrics: Any, step: int) -> None:  # type: ignore[override]
            told.append((step, metrics["val_miou"]))

    monkeypatch.setattr(fit, "make_loggers", lambda names, folder: [Told()])
    with tiny_network():
        done = train(patches, tmp_path, QUICK, progress=False)
    assert [(step, f"{miou:.6g}") for step, miou in told] == [
        (int(row["epoch"]), row["val_miou"]) for row in rows_of(done)
    ]


def test_another_run_is_replaced_only_when_asked(
    run: TrainingRun, patches: PatchStore, tmp_path: Path
) -> None:
    for file in run.save_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(FileExistsError, match=r"holds another run.*overwrite=True"):
        train(patches, tmp_path, QUICK, progress=False)
    train(patches, tmp_path, replace(QUICK, epochs=1), progress=False, overwrite=True)
    assert load_checkpoint(tmp_path / "model_final.pth").metrics["epoch"] == 1


def test_an_interrupt_comes_through_as_what_it_is(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.SegmentationTask, "training_step", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(patches, tmp_path, QUICK, progress=False)
    assert "no epoch was finished" in caught.value.__notes__[0]
