from __future__ import annotations

import json

import numpy as np
import pytest
from affine import Affine

from seg4eo_xr.cli.main import main
from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place


@pytest.fixture
def map_path(tmp_path):
    codes = np.array([[1, 1, 2, 255]] * 3, np.uint8)
    layer = place(codes, 32633, Affine(10, 0, 5e5, 0, -10, 5e6))
    layer.attrs = ClassTable.from_codes([1, 2], ["forest", "water"]).to_attrs()
    return write_cog(layer.to_dataset(name="classes"), tmp_path / "map.tif")


def test_statistics_are_printed_and_written(map_path, tmp_path, capsys):
    words = ["statistics", "--map", str(map_path), "--output", str(tmp_path / "report.json")]
    assert main(words) == 0
    assert "forest" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [row["pixels"] for row in report["classes"]] == [6, 3]
    assert report["missing_pixels"] == 3


def test_a_map_is_published(map_path, tmp_path, capsys):
    words = ["publish", "--map", str(map_path), "--output", str(tmp_path / "out")]
    assert main([*words, "--date", "2021-06-13"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "collection.json")
    assert (tmp_path / "out" / "classes" / "0.0.tif").is_file()
    assert main(words) == 2
    assert "overwrite" in capsys.readouterr().err
