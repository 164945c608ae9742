"""Laws of `seg4eo_xr.cli.stores`: what the words ask for is done and told."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from seg4eo_xr.cli import main
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((96, 96), seed=3)
    path = tmp_path_factory.mktemp("store") / "patches.zarr"
    return extract_patches(scene, labels, path, patch_size=32, progress=False)


def test_a_picture_is_written_where_the_user_stands_or_where_he_says(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["visualize", "--output", f"{store.path}", "--split", "train", "--sample_index", "0"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == "patches_train_0.png"
    more = ["--samples", "2", "--bands", "B08", "B04", "B03", "--picture", "two.png"]
    assert main([*words, *more]) == 0
    one, two = (imread(tmp_path / name) for name in ("patches_train_0.png", "two.png"))
    assert two.shape[0] > one.shape[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patches_train_0.png", "two.png"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--sample_index", "99"], "has 7 patches"),
        (["--bands", "B77"], "B77"),
        (["--picture", "picture.docx"], ".png"),
        (["--picture", "nowhere/picture.png"], "nowhere"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_an_error(
    store, tmp_path, words, named, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["visualize", "--output", f"{store.path}", *words]) == 2
    assert named in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_export_and_import_are_there_and_back(store, tmp_path, capsys):
    folder = tmp_path / "Patch"
    assert main(["export", "--dataset_root", f"{store.path}", "--output", f"{folder}"]) == 0
    assert str(folder) in capsys.readouterr().out
    words = ["import", "--data_dir", f"{folder}", "--output", f"{tmp_path}/back.zarr"]
    assert main([*words, "--normalization", "standard"]) == 0
    assert "validation" in capsys.readouterr().out
    back = open_store(tmp_path / "back.zarr")
    assert back.contract.normalization.kind == "standard"
    np.testing.assert_array_equal(
        np.sort(back.coordinate("digest")), np.sort(store.coordinate("digest"))
    )
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_one_split_is_exported_on_request(store, tmp_path):
    folder = tmp_path / "only"
    words = ["--dataset_root", f"{store.path}", "--output", f"{folder}", "--splits", "test"]
    assert main(["export", *words]) == 0
    assert [path.name for path in folder.iterdir()] == ["test"]


def test_info_tells_how_far_the_splits_are_apart(store, capsys):
    assert main(["info", "--output", f"{store.path}"]) == 0
    assert "test and train: they touch" in capsys.readouterr().out
