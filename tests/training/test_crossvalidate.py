from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from toy_training import tiny_network

from seg4eo_xr.training import crossvalidate
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.crossvalidate import cross_validate
from seg4eo_xr.training.folds import FoldOptions

if TYPE_CHECKING:
    from pathlib import Path

    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.training.crossvalidation import CrossValidation

QUICK = TrainConfig(
    encoder_name="resnet18", pretrained=False, epochs=1, learning_rate=2e-3, device="cpu"
)
TWO = FoldOptions(2)


@pytest.fixture(scope="module")
def found(patches: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    folder = tmp_path_factory.mktemp("folds") / "cv"
    return cross_validate(patches, folder, QUICK, TWO, progress=False)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folds that are trained from here on."""
    names: list[str] = []
    fit = crossvalidate.fit_positions

    def note(*args: Any, **options: Any) -> Any:
        names.append(args[3].name)
        return fit(*args, **options)

    monkeypatch.setattr(crossvalidate, "fit_positions", note)
    return names


def test_each_labelled_pixel_is_scored_once(found: CrossValidation, patches: PatchStore) -> None:
    both = (patches.class_counts("train"), patches.class_counts("validation"))
    expected = [sum(counts) for counts in zip(*(c.values() for c in both), strict=True)]
    assert found.matrices.sum(axis=(0, 2)).tolist() == expected
    assert found.pooled.support.tolist() == expected


def test_the_scores_are_those_of_the_folds(found: CrossValidation) -> None:
    assert list(found.values)[:3] == ["mean IoU", "mean F1", "accuracy"]
    assert [name for name in found.values if name.startswith("IoU ")] == [
        f"IoU {name}" for name in found.names
    ]
    reports = [
        json.loads((found.save_dir / f"fold_{i}" / "model_metrics.json").read_text())
        for i in (1, 2)
    ]
    mious = [report["test"]["miou"] for report in reports]
    assert found.values["mean IoU"] == pytest.approx(mious)
    assert found.intervals["mean IoU"].mean == pytest.approx(np.mean(mious))


def test_the_figures_and_the_picture_are_left(found: CrossValidation) -> None:
    written = json.loads(found.path.read_text())
    assert written["scores"]["mean IoU"]["mean"] == found.intervals["mean IoU"].mean
    assert written["plan"]["folds"]["n_splits"] == 2
    assert [run["run"] for run in written["runs"]] == ["fold_1", "fold_2"]
    assert found.plot_path.stat().st_size > 0
    assert "95 % t interval" in repr(found)
    for shown in (repr(found), found._repr_html_()):
        assert shown.count("2 folds say almost nothing") == 1
    three = replace(found, matrices=np.concatenate([found.matrices, found.matrices[:1]]))
    assert "almost nothing" not in repr(three)
    assert "fold 2" in found._repr_html_()
    assert found.plot().axes


@pytest.fixture(scope="module")
def compared(patches: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    folder = tmp_path_factory.mktemp("compared") / "cv"
    blocks = FoldOptions(2, fold_block=128)
    with tiny_network():
        return cross_validate(patches, folder, QUICK, blocks, compare_random=True, progress=False)


def test_random_folds_are_told_beside_spatial_ones_with_the_difference(
    compared: CrossValidation,
) -> None:
    other = compared.random
    assert other is not None
    assert other.save_dir == compared.save_dir / "random"
    for name, gap in compared.flattery.items():
        means = [found.intervals[name].mean for found in (other, compared)]
        assert gap == pytest.approx(means[0] - means[1])
    assert "random - spatial" in repr(compared)
    assert f"{compared.flattery['mean IoU']:+.3f}" in repr(compared)
    assert "random - spatial" in compared._repr_html_()
    written = json.loads(compared.path.read_text())
    assert written["random_less_spatial"]["mean IoU"] == pytest.approx(
        compared.flattery["mean IoU"]
    )
    assert written["random"]["confusion_matrices"] == other.matrices.tolist()
    # every patch is scored once either way
    assert compared.matrices.sum() == other.matrices.sum()


def test_each_fold_says_how_far_it_lies_from_its_training_patches(
    compared: CrossValidation,
) -> None:
    assert compared.distances == (1.0, 1.0)  # blocks touch, without a buffer
    assert "each fold lies 1 px or more from the patches that trained for it" in repr(compared)


def test_random_folds_have_nothing_to_be_compared_with(patches: PatchStore, tmp_path: Path) -> None:
    for folds in (TWO, FoldOptions(2, fold_random=True)):
        with pytest.raises(ValueError, match="set fold_block"):
            cross_validate(patches, tmp_path / "cv", QUICK, folds, compare_random=True)
    assert not (tmp_path / "cv").exists()
    with pytest.raises(ValueError, match="leave one of them out"):
        FoldOptions(2, fold_block=64, fold_random=True)


def test_called_again_it_trains_nothing(
    found: CrossValidation, patches: PatchStore, trained: list[str]
) -> None:
    assert not list(found.save_dir.glob("fold_*/training_state.ckpt"))  # folds are many
    # threads say how, and not what; the folds are those of TWO
    again = cross_validate(patches, found.save_dir, QUICK, n_splits=2, threads=1, progress=False)
    assert trained == []
    np.testing.assert_array_equal(again.matrices, found.matrices)


def test_after_an_interruption_only_the_open_fold_is_trained(
    found: CrossValidation, patches: PatchStore, trained: list[str]
) -> None:
    for file in (found.save_dir / "fold_2").iterdir():
        file.unlink()
    again = cross_validate(patches, found.save_dir, QUICK, TWO, progress=False)
    assert trained == ["fold_2"]
    np.testing.assert_array_equal(again.matrices, found.matrices)


def test_other_options_are_refused_by_name(found: CrossValidation, patches: PatchStore) -> None:
    for config, folds, name in (
        (replace(QUICK, learning_rate=1e-4), TWO, "learning_rate"),
        (QUICK, FoldOptions(3), "n_splits"),
    ):
        with pytest.raises(FileExistsError, match=rf"other options \({name}\).*--overwrite"):
            cross_validate(patches, found.save_dir, config, folds, progress=False)


def test_another_run_is_not_lost(patches: PatchStore, tmp_path: Path) -> None:
    (tmp_path / "model_final.pth").write_text("mine")
    with pytest.raises(FileExistsError, match="holds another run"):
        cross_validate(patches, tmp_path, QUICK, TWO, progress=False)
    (tmp_path / "model_final.pth").rename(tmp_path / "fold_1")
    with pytest.raises(FileExistsError, match="holds fold_1 already"):
        cross_validate(patches, tmp_path, QUICK, TWO, progress=False)
    assert (tmp_path / "fold_1").read_text() == "mine"


def test_tasks_need_a_cluster_of_single_threads(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crowded:
        def nthreads(self) -> dict[str, int]:
            return {"tcp://a": 1, "tcp://b": 4}

    for client, message in ((None, "create a dask.distributed.Client"), (Crowded(), "tcp://b")):
        monkeypatch.setattr(crossvalidate, "active_client", lambda client=client: client)
        with pytest.raises(ValueError, match=message):
            cross_validate(patches, tmp_path / "cv", QUICK, TWO, parallel=True)
    assert not (tmp_path / "cv").exists()


@pytest.mark.slow
def test_folds_as_tasks_of_a_cluster_give_the_same(
    found: CrossValidation, patches: PatchStore, tmp_path: Path
) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        result = cross_validate(patches, tmp_path / "cv", QUICK, TWO, parallel=True)
    difference = np.abs(result.matrices - found.matrices).sum()
    assert difference <= 0.01 * found.matrices.sum()  # threads of a worker sum in another order
