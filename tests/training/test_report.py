from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.scenes.contract import Contract, normalize, valid_mask
from seg4eo_xr.testing import synthetic_sentinel2
from seg4eo_xr.training import fit
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.folds import FoldOptions, fold_positions
from seg4eo_xr.training.intervals import t_interval
from seg4eo_xr.training.leaks import flattering, leakage_of
from seg4eo_xr.training.metrics import scores
from seg4eo_xr.training.pictures import draw_classes, draw_folds, draw_training
from seg4eo_xr.training.report import finish_run, read_log, write_json
from seg4eo_xr.training.scoring import confusion_matrix

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.training.run import TrainingRun


@pytest.fixture(scope="module")
def run(patches: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    config = TrainConfig(
        encoder_name="resnet18",
        pretrained=False,
        epochs=2,
        learning_rate=2e-3,
        device="cpu",
        random_seed=7,
    )
    return train(patches, tmp_path_factory.mktemp("run") / "first", config, progress=False)


@pytest.fixture(scope="module")
def report(run: TrainingRun) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found: dict[str, Any] = json.loads(run.metrics_path.read_text(), parse_constant=refuse)
    return found


def counted_one_by_one(checkpoint: Checkpoint, store: PatchStore, split: Any) -> NDArray[np.int64]:
    """The confusion matrix as plainly as can be."""
    network, contract = checkpoint.build(), checkpoint.contract
    matrix = np.zeros((len(contract.classes),) * 2, np.int64)
    images, labels = store.arrays()
    for position in store.indices(split):
        stored, codes = np.asarray(images[position]), np.asarray(labels[position])
        with torch.inference_mode():
            logits = network(torch.from_numpy(normalize(stored, contract))[None])[0].numpy()
        found = (logits[0] > 0).astype(int) if checkpoint.mode == "binary" else logits.argmax(0)
        truth = contract.classes.encode(codes, contract.ignore)
        counted = (truth != 255) & valid_mask(stored, contract.nodata, contract.nodata_rule)
        np.add.at(matrix, (truth[counted], found[counted]), 1)
    return matrix


def test_a_run_leaves_seven_files_and_its_state(run: TrainingRun) -> None:
    assert {file.name for file in run.save_dir.iterdir()} == {
        "model_best_loss.pth",
        "model_best_iou.pth",
        "model_final.pth",
        "model_training_log.csv",
        "model_training_plot.png",
        "model_per_class_iou.png",
        "model_metrics.json",
        "training_state.ckpt",
    }


def test_the_test_scores_are_those_of_the_best_checkpoint(
    run: TrainingRun, report: dict[str, Any], patches: PatchStore
) -> None:
    checkpoint = load_checkpoint(run.best_iou_path)
    matrix = np.array(report["test"]["confusion_matrix"])
    expected = counted_one_by_one(checkpoint, patches, "test")
    # convolutions of batches and of single patches round differently
    assert np.abs(matrix - expected).sum() <= 1e-3 * expected.sum()
    assert matrix.sum(axis=1).tolist() == list(patches.class_counts("test").values())
    assert report["test"]["miou"] == pytest.approx(scores(matrix).miou)
    assert report["test"]["patches"] == len(patches.indices("test"))
    assert run.test == report["test"]


def test_the_validation_scores_are_those_of_the_log(
    run: TrainingRun, report: dict[str, Any]
) -> None:
    log = read_log(run.log_path)
    assert report["validation"]["miou"] == pytest.approx(log["val_miou"].max(), abs=2e-3)
    assert report["best"]["epoch"] == 1 + log["val_miou"].argmax()


def test_the_report_says_what_the_numbers_depend_on(
    run: TrainingRun, report: dict[str, Any], patches: PatchStore
) -> None:
    checkpoint = load_checkpoint(run.best_iou_path)
    assert Contract.from_dict(report["contract"]) == checkpoint.contract
    assert TrainConfig.from_dict(report["config"]).random_seed == 7
    assert report["seeds"] == {"training": 7, "split": 42}
    assert report["store"]["commit"] == 1
    assert report["store"]["patches"]["train"] == len(patches.indices("train"))

    assert {"python", "torch", "lightning", "numpy"} <= set(report["versions"])


def test_the_splits_are_told_beside_the_scores(
    run: TrainingRun, report: dict[str, Any], patches: PatchStore
) -> None:
    leaks = dict(report["leakage"])
    (warning,) = leaks.pop("warnings")  # patches of a regular grid, dealt at random, touch
    assert leaks == patches.leakage.to_dict()
    for remedy in ("SpatialSplit(block=", "--split_block", "fold_block=", "--fold_block PIXELS"):
        assert remedy in warning
    assert "test and train: they touch, nothing in common" in repr(run)
    assert "warning: test patches lie 1 px from training patches" in repr(run)


def test_folds_are_judged_by_their_own_parts(patches: PatchStore) -> None:
    fold = fold_positions(patches, FoldOptions(3, fold_block=128, fold_buffer=40), 1)[0]
    leaks = leakage_of(patches, fold)
    assert leaks.distances["test-train"] > 40
    assert leaks.overlapping["test-train"] == 0
    assert flattering(leaks, 32) == []
    assert flattering(leaks, 128)


def test_scores_that_do_not_exist_are_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"iou": float("nan"), "all": [1.0, float("inf")], "name": "é"}, path)
    assert json.loads(path.read_text("utf-8")) == {"iou": None, "all": [1.0, None], "name": "é"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_store_without_test_patches_has_no_test_scores(
    run: TrainingRun, patches: PatchStore
) -> None:
    before = run.metrics_path.read_bytes()
    positions = {name: patches.indices(name) for name in ("train", "validation")}
    assert finish_run(run, patches, positions)["test"] is None  # type: ignore[arg-type]
    assert json.loads(run.metrics_path.read_text())["test"] is None
    run.metrics_path.write_bytes(before)


def test_one_output_is_counted_as_two_classes(tmp_path: Path) -> None:
    scene, labels = synthetic_sentinel2((128, 128), seed=2, classes=2)
    store = extract_patches(scene, labels, tmp_path / "s.zarr", patch_size=32, progress=False)
    spec = ModelSpec("unet", "resnet18", 10, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_model(spec).state_dict()
    checkpoint = Checkpoint(weights, spec, store.contract, 32, "binary")
    expected = counted_one_by_one(checkpoint, store, "train")
    found = confusion_matrix(checkpoint, store, "train", batch_size=3)
    assert found.sum() == expected.sum() > 0
    assert np.abs(found - expected).sum() <= 1e-3 * expected.sum()


def test_the_course_shows_every_class_by_name_and_colour(
    run: TrainingRun, patches: PatchStore
) -> None:
    classes = patches.contract.classes
    log = read_log(run.log_path)
    log["iou_water"] = log["iou_water"] * np.nan
    figure = draw_training(log, classes, best_epoch=2, title="unet", shown=False)
    loss, miou, rate, ious = figure.axes
    assert [line.get_label() for line in loss.lines[:2]] == ["training", "validation"]
    assert "in epoch 2, the best" in miou.get_title()
    assert rate.get_yscale() == "log"
    told = [text.get_text() for text in ious.get_legend().get_texts()]
    assert told == ["water (absent)", *classes.names[1:]]
    assert [line.get_color() for line in ious.lines[:6]] == list(classes.colors)


def test_the_bars_and_the_matrix_name_every_class(patches: PatchStore) -> None:
    classes = patches.contract.classes
    matrix = np.diag([0, 5, 5, 5, 5, 5])
    matrix[1, 2] = 5
    its = scores(matrix)
    figure = draw_classes({"validation": its, "test": its}, matrix, classes, shown=False)
    bars, square = figure.axes
    assert [text.get_text() for text in bars.get_yticklabels()] == list(classes.names)
    assert [text.get_text() for text in bars.texts].count("absent") == 2
    assert {"100.0", "50.0", "–"} <= {text.get_text() for text in square.texts}
    legend = [text.get_text() for text in bars.get_legend().get_texts()]
    assert legend == [f"{split} (mean {its.miou:.3f})" for split in ("validation", "test")]


def test_a_matrix_of_many_classes_has_a_scale_instead_of_numbers() -> None:
    from seg4eo_xr.scenes.classes import ClassTable

    classes = ClassTable.from_codes(range(20))
    matrix = np.eye(20, dtype=np.int64)
    figure = draw_classes({"test": scores(matrix)}, matrix, classes, shown=False)
    assert not figure.axes[1].texts
    assert len(figure.axes) == 3


def test_names_that_differ_stay_different_and_whole() -> None:
    from seg4eo_xr.scenes.classes import ClassTable

    names = (
        "broadleaved_evergreen_forest",
        "Tree cover, broadleaved, evergreen",
        "Tree cover, broadleaved, deciduous",
    )
    matrix = np.eye(3, dtype=np.int64)
    table = ClassTable.from_codes([1, 2, 3], names)
    figure = draw_classes({"test": scores(matrix)}, matrix, table, shown=False)
    for axis in (figure.axes[0].yaxis, figure.axes[1].xaxis, figure.axes[1].yaxis):
        shown = [text.get_text() for text in axis.get_ticklabels()]
        assert [text.replace("\n", " ").replace("_ ", "_") for text in shown] == list(names)


def test_epochs_are_whole() -> None:
    from seg4eo_xr.scenes.classes import ClassTable

    table = ClassTable.from_codes([1, 2])
    columns = ("train_loss", "val_loss", "val_miou", "learning_rate")
    columns += tuple(f"iou_{name}" for name in table.names)
    for count in (1, 2, 3, 40):
        log = {name: np.full(count, 0.5) for name in columns}
        log["epoch"] = np.arange(1, count + 1)
        figure = draw_training(log, table, shown=False)
        figure.canvas.draw()
        (low, high), ticks = figure.axes[2].get_xlim(), figure.axes[2].get_xticks()
        seen = ticks[(ticks >= low) & (ticks <= high)]
        assert len(seen) >= 1
        assert set(seen) <= set(log["epoch"])


def test_folds_are_dots_beside_their_interval() -> None:
    values = {"mean IoU": np.array([0.6, 0.7, 0.8]), "IoU sea": np.array([0.5, np.nan, np.nan])}
    intervals = {name: t_interval(numbers) for name, numbers in values.items()}
    figure = draw_folds(intervals, values, {"IoU sea": "#0000ff"}, shown=False)
    told = [text.get_text() for text in figure.axes[0].texts]
    assert told == [str(found) for found in intervals.values()]


def test_the_pictures_are_there(run: TrainingRun) -> None:
    for path in (run.plot_path, run.class_plot_path):
        assert min(imread(path).shape[:2]) > 300


def test_a_run_tells_and_draws_what_came_of_it(run: TrainingRun, patches: PatchStore) -> None:
    told = repr(run)
    assert "best validation mIoU" in told
    assert f"mIoU of the test patches {run.test['miou']:.3f}" in told  # type: ignore[index]
    assert all(name in told for name in patches.contract.classes.names)
    assert "mIoU of the test" not in repr(replace(run, test=None))
    assert len(run.plot().axes) == 4


def test_the_log_is_read_as_it_is(run: TrainingRun) -> None:
    with run.log_path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    log = read_log(run.log_path)
    assert list(log) == list(rows[0])
    assert log["epoch"].tolist() == [1, 2]
    assert log["val_loss"].tolist() == [float(row["val_loss"]) for row in rows]


def test_a_run_that_is_killed_while_it_is_scored_is_finished_by_resuming(
    run: TrainingRun, patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    config = TrainConfig.from_dict(load_checkpoint(run.final_path).config)
    config = replace(config, mode=None, epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(fit, "finish_run", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(patches, tmp_path / "run", config, progress=False)
    before = load_checkpoint(tmp_path / "run" / "model_final.pth").state_dict
    done = train(patches, tmp_path / "run", config, progress=False, resume=True)
    after = load_checkpoint(done.final_path).state_dict
    assert all(torch.equal(before[name], after[name]) for name in before)
    files = {file.name for file in (*run.files, run.state_path)}
    assert {file.name for file in done.save_dir.iterdir()} == files
