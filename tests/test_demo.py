"""README's first command, as it stands: it has to work, and its map has to be good."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from seg4eo_xr.demo import run_demo
from seg4eo_xr.models.checkpoint import load_checkpoint


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_maps_land_it_has_never_seen(tmp_path):
    command = shutil.which("seg4eo-xr", path=Path(sys.executable).parent)
    words = [command, "demo", "--output", "first try"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    folder = tmp_path / "first try"
    report = json.loads((folder / "report.json").read_text())
    assert report["miou"] >= 0.80
    assert report["seconds"] > 0
    assert len(report["iou"]) == 6
    for name in ("map.tif", "confidence.tif", "preview.png", "report.json"):
        assert f"first try/{name}" in done.stdout
        assert (folder / name).stat().st_size > 0
    checkpoint = load_checkpoint(folder / "run" / "model_best_iou.pth")
    with rasterio.open(folder / "map.tif") as result:
        assert result.crs.to_epsg() == 32633
        assert result.tags(1)["class_names"].count("; ") == 5
    assert checkpoint.contract.classes.names[0] == "water"
    assert "Traceback" not in done.stderr
    assert "warning" not in done.stderr.lower()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_earlier_demo_is_replaced_on_request(tmp_path, monkeypatch):
    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr("seg4eo_xr.demo._write_scene", stop)
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "map.tif").write_text("old")
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="--overwrite"):
        run_demo(tmp_path)
    assert (tmp_path / "map.tif").exists()
    with pytest.raises(InterruptedError):
        run_demo(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
