"""Many scenes with one model: each map is that of its scene alone."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from toy_jobs import OPTIONS, failing_scene, toy_checkpoint, toy_scene

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.models.checkpoint import save_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    save_checkpoint(toy_checkpoint(), folder / "model.pth")
    for seed, name in enumerate(("a", "b"), start=1):
        toy_scene(seed=seed).rio.to_raster(folder / f"{name}.tif")
    return folder


def run(scenes, output, **options):
    return seg.predict_scenes(
        scenes, toy_checkpoint(), output, progress=False, **OPTIONS, **options
    )


def test_each_scene_is_mapped_as_if_it_were_alone(files, tmp_path):
    jobs = run([files / "a.tif", files / "b.tif"], tmp_path / "maps")
    assert {entry.name for entry in (tmp_path / "maps").glob("*.tif")} == {"a.tif", "b.tif"}
    for name, job in jobs.items():
        scene = seg.open_scene(files / f"{name}.tif")
        alone = seg.predict(scene, toy_checkpoint(), overlap=8)["classes"].compute()
        np.testing.assert_array_equal(job.open()["classes"], alone)


def test_arrays_are_named_after_their_files(files, tmp_path):
    assert list(run([seg.open_scene(files / "b.tif")], tmp_path / "maps")) == ["b"]
    with pytest.raises(ValueError, match="give scenes by name"):
        run([toy_scene()], tmp_path / "more")


def test_finished_maps_are_kept_with_resume(files, tmp_path):
    run([files / "a.tif"], tmp_path)
    before = (tmp_path / "a.tif").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match=r"a\.tif"):
        run([files / "a.tif", files / "b.tif"], tmp_path)
    os.utime(files / "a.tif", (0, 0))  # the same content at another time
    run([files / "a.tif", files / "b.tif"], tmp_path, resume=True)
    assert (tmp_path / "a.tif").stat().st_mtime_ns == before
    assert (tmp_path / "b.tif").is_file()


def test_a_scene_that_fails_leaves_the_others(files, tmp_path):
    def missing():
        raise FileNotFoundError("gone.tif")

    scenes = {"broken": failing_scene(OSError("unreadable")), "gone": missing}
    with pytest.raises(seg.JobFailedError, match="2 of 3 scenes failed") as caught:
        run({**scenes, "good": files / "a.tif"}, tmp_path, retries=0)
    assert set(caught.value.failures) == {"broken", "gone"}
    assert [path.name for path in tmp_path.glob("*.tif")] == ["good.tif"]


def test_two_files_of_one_name_are_refused_before_anything_runs(files, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.tif").write_bytes((files / "a.tif").read_bytes())
    with pytest.raises(ValueError, match=r"would both become a\.tif"):
        run([files / "a.tif", other / "a.tif"], tmp_path / "maps")
    words = ["predict", "--model", f"{files}/model.pth", "--output", f"{tmp_path}/maps"]
    assert main([*words, "--input", f"{files}/a.tif", f"{other}/a.tif"]) == 2
    assert not (tmp_path / "maps").exists()


def test_the_confidence_of_one_scene_is_not_replaced_by_the_map_of_another(files, tmp_path):
    scenes = {"a": files / "a.tif", "a_confidence": files / "b.tif"}
    with pytest.raises(ValueError, match=r"would both write .*a_confidence\.tif"):
        run(scenes, tmp_path / "maps", layers=("classes", "confidence"), overwrite=True)
    assert not (tmp_path / "maps").exists()
    assert list(run(scenes, tmp_path / "maps")) == ["a", "a_confidence"]


def test_a_map_of_nothing_but_nodata_has_no_commonest_class(files, tmp_path, capsys):
    empty = toy_scene()
    empty = empty.where(empty != empty, empty.rio.nodata).astype(empty.dtype)
    empty.rio.write_nodata(toy_scene().rio.nodata).rio.to_raster(tmp_path / "empty.tif")
    words = ["predict", "--model", f"{files}/model.pth", "--overlap", "8", "--output"]
    assert main([*words, f"{tmp_path}/maps/", "--input", f"{tmp_path}/empty.tif"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "empty.tif" in line)
    assert row.split()[-1] == "-"


def test_maps_do_not_replace_their_scenes(files, capsys):
    with pytest.raises(ValueError, match="is the scene itself"):
        run([files / "a.tif"], files, overwrite=True)
    words = ["predict", "--model", f"{files}/model.pth", "--input", f"{files}/a.tif"]
    assert main([*words, "--output", str(files), "--overwrite"]) == 2
    assert "is the scene itself" in capsys.readouterr().err


def test_the_shell_writes_one_map_per_input_and_one_report(files, tmp_path, capsys):
    words = ["predict", "--model", f"{files}/model.pth", "--overlap", "8"]
    words += ["--input", f"{files}/a.tif", f"{files}/b.tif", "--output", f"{tmp_path}/maps/"]
    assert main([*words, "--report", f"{tmp_path}/r.json", "--save_confidence"]) == 0
    told = capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    for name in ("a", "b"):
        assert f"{tmp_path}/maps/{name}.tif" in told
        assert (tmp_path / f"maps/{name}_confidence.tif").is_file()
        assert report["scenes"][name]["statistics"]["pixels"] > 0
    assert report["total"]["pixels"] == sum(
        scene["statistics"]["pixels"] for scene in report["scenes"].values()
    )
    assert main([*words, "--mosaic"]) == 2
    assert "omit --mosaic" in capsys.readouterr().err


def test_a_scene_that_cannot_be_opened_fails_alone_in_the_shell(files, tmp_path, capsys):
    words = ["predict", "--model", f"{files}/model.pth", "--overlap", "8"]
    (tmp_path / "broken.tif").write_text("no raster")
    words += ["--input", f"{files}/a.tif", f"{tmp_path}/broken.tif", "--output", f"{tmp_path}/maps"]
    assert main(words) == 1
    assert "broken: " in capsys.readouterr().err
    assert (tmp_path / "maps/a.tif").is_file()


def test_a_suffix_in_capitals_is_the_same_format(files, tmp_path):
    words = ["predict", "--model", f"{files}/model.pth", "--input", f"{files}/a.tif"]
    assert main([*words, "--overlap", "8", "--output", f"{tmp_path}/A.TIF"]) == 0
    calm = ["postprocess", "--prediction", f"{tmp_path}/A.TIF", "--majority", "3"]
    assert main([*calm, "--output", f"{tmp_path}/B.TIFF"]) == 0
    assert seg.open_map(tmp_path / "B.TIFF")["classes"].shape == toy_scene().shape[1:]
