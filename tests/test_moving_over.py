"""Moving over from SemanticSeg4EO: README's table, row by row, and the scripts' own options."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
from readme_tools import code, table, words_of
from toy_files import write_old_checkpoints, write_old_folders, write_scene
from toy_network import tiny_network

import seg4eo_xr as seg
from seg4eo_xr.cli import COMMANDS, main
from seg4eo_xr.cli.old_names import GONE, NEEDLESS, RENAMED, renamed
from seg4eo_xr.cli.option import options_of

ROWS = table("Moving over from SemanticSeg4EO")
SCRIPTS = [row for row in ROWS if ".py " in row[0]]
# Small enough for a test; all else is run as it stands.
SMALL = {"patch_size": "32", "overlap": "8", "epochs": "1", "n_splits": "2", "device": "cpu"}
# Files that show that the work was done.
LEFT = {
    "extract": ["P.zarr", "Q.zarr"],
    "import": ["O.zarr"],
    "train": ["S/model_best_iou.pth", "B/model_final.pth", "F"],
    "predict": ["P.tif", "W.tif", "OUT/one.tif", "OUT/water.tif"],
}
pytestmark = pytest.mark.filterwarnings(
    "ignore::seg4eo_xr.Seg4EOWarning", "ignore:.*does not have many workers"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What someone has who used the scripts."""
    found = tmp_path_factory.mktemp("old")
    write_scene(found)
    write_old_folders(found)
    write_old_checkpoints(found)
    seg.import_patches(found / "WATER", found / "W.zarr", progress=False)
    return found


def command_of(words: list[str]) -> str:
    return next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)


def test_every_row_of_the_table_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for old, new in ROWS:
        (line,) = code(new)
        words = words_of(line, SMALL)
        if command_of(words) == "train":
            with tiny_network("seg4eo_xr.training.fit"):
                status = main([*words, "--epochs", "1"])
        else:
            status = main(words)
        assert status == 0, f"{old}: {capsys.readouterr().err}"
    missing = [name for names in LEFT.values() for name in names if not Path(name).exists()]
    assert not missing
    assert list(Path().glob("*_train_0.png"))


@pytest.mark.parametrize(("old", "new"), SCRIPTS, ids=[old.split()[0] for old, _ in SCRIPTS])
def test_every_option_of_the_scripts_is_taken_or_told(old, new, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (script,), (line,) = code(old), code(new)
    name = command_of(shlex.split(line)[1:])
    known = {option.name for option in options_of(COMMANDS[name])}
    words = [word for word in shlex.split(script) if not word.endswith(".py")]
    words = words[next(i for i, word in enumerate(words) if word.startswith("--")) :]
    try:
        kept, _ = renamed(name, words)
    except ValueError as error:
        told = str(error).partition("as --")[2].split()[0]
        assert f"--{told}" in line
        return
    options = {word[2:] for word in kept if word.startswith("--")}
    assert options <= known


@pytest.mark.parametrize("command", sorted({*RENAMED, *NEEDLESS, *GONE}))
def test_no_old_name_hides_an_option(command):
    names = {option.name for option in options_of(COMMANDS[command])}
    old = {name for each in (RENAMED, NEEDLESS, GONE) for name in each.get(command, {})}
    assert not names & old
    assert set(RENAMED.get(command, {}).values()) <= names


def test_old_names_predict_as_the_new_ones_do(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    more = ["--patch_size", "32", "--overlap", "8"]
    old = "predict --model-path M/unet++_final.pth --image_path=I.tif --model_name unet++"
    assert main([*shlex.split(old), "--num_classes", "6", "--output", "a.tif", *more]) == 0
    assert "--num_classes is not needed: the checkpoint says it" in capsys.readouterr().err
    new = "predict --model M/unet++_final.pth --input I.tif --architecture unet++ --output b.tif"
    assert main([*shlex.split(new), *more]) == 0
    assert Path("a.tif").read_bytes() == Path("b.tif").read_bytes()


def test_another_percentile_than_the_trainers_is_refused(capsys):
    words = "predict --model_path a.pth --input I.tif --output c.tif --normalization_percentile"
    assert main([*shlex.split(words), "98"]) == 2
    assert "--normalization_percentile 98 is not supported" in capsys.readouterr().err
    for same in ("99", "99.0"):
        assert renamed("predict", ["--normalization_percentile", same])[0] == []


def test_the_script_for_patches_is_answered_with_the_command_of_its_mode(capsys):
    assert main(shlex.split("Patch_extraction_v2.py batch --data_dir D")) == 2
    assert "understood by seg4eo-xr extract batch" in capsys.readouterr().err


def test_an_old_network_maps_the_codes_of_its_labels(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = "predict --model M/fpn_best_loss.pth --input I.tif --output c.tif --overlap 8"
    more = "--patch_size 32 --save_confidence --class_codes 0 1 --threshold 0.3"
    assert main([*shlex.split(words), *shlex.split(more)]) == 0
    with rasterio.open("c.tif") as found, rasterio.open("I.tif") as scene:
        assert set(np.unique(found.read(1))) <= {0, 1, 255}
        assert (found.crs, found.transform) == (scene.crs, scene.transform)
    assert Path("c_confidence.tif").exists()


def test_a_cost_is_told_for_an_old_network(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = "plan --model_path M/unet++_final.pth --image_path I.tif"
    assert main(shlex.split(words)) == 0
    assert "windows of 32 px" in capsys.readouterr().out


def test_a_folder_of_checkpoints_is_listed(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = "predict --model_dir M --model_name unet++ --image_path I.tif --output_dir OUT"
    assert main(shlex.split(words)) == 2
    told = capsys.readouterr().err
    assert "--model M/unet++_best_iou.pth" in told
    assert "holds fpn_best_loss.pth, unet++_best_iou.pth, unet++_final.pth" in told


@pytest.mark.parametrize(
    ("command", "words", "left"),
    [
        ("train", ["--save_csv", "--epochs", "3"], ["--epochs", "3"]),
        ("train", ["--subdirectories", "train", "test", "--model", "fpn"], ["--model", "fpn"]),
        ("predict", ["--in-channels=4", "--tta"], ["--tta"]),
        ("predict", ["--image-path=I.tif"], ["--input=I.tif"]),
        ("info", ["--model_path", "M"], ["--model_path", "M"]),
        ("predict", ["--threshold", "-1"], ["--threshold", "-1"]),
    ],
)
def test_words_are_left_out_with_their_values(command, words, left):
    assert renamed(command, words)[0] == left


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("train", ["--patch_subdir", "P"], "seg4eo-xr import"),
        ("train", ["--patch_size", "224"], "seg4eo-xr extract --patch_size"),
        ("predict", ["--output_dir", "OUT/"], "--output OUT/map.tif"),
        ("predict", ["--model_dir=nowhere"], "holds no .pth file"),
        ("predict", ["--background_value", "1"], "--class_codes"),
        ("predict", ["--save_patches"], "--area"),
    ],
)
def test_what_is_said_in_another_way_is_told(command, words, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        renamed(command, words)
