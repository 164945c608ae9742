import geopandas as gpd
import pytest
from mosaics import as_map, noisy_codes

import seg4eo_xr as seg
from seg4eo_xr.cli import main


@pytest.fixture
def stored(tmp_path):
    return as_map(noisy_codes(0, (60, 60))).seg4eo.to_zarr(tmp_path / "map.zarr")


def test_polygonize_writes_polygons(stored, tmp_path, capsys):
    output = tmp_path / "map.parquet"
    words = ["polygonize", "--prediction", str(stored), "--output", str(output)]
    assert main([*words, "--min_pixels", "6", "--simplify", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    found = gpd.read_parquet(output).sort_values("id", ignore_index=True)
    expected = seg.to_polygons(stored, min_pixels=6, simplify=1)
    assert found.equals(expected)
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["calm.zarr", "calm.tif"])
def test_postprocess_filters_and_then_sieves(stored, tmp_path, name):
    words = ["postprocess", "--prediction", str(stored), "--output", str(tmp_path / name)]
    assert main([*words, "--majority", "3", "--sieve", "8"]) == 0
    prediction = seg.open_map(stored)
    expected = prediction.seg4eo.majority_filter(3).seg4eo.sieve(8)["classes"]
    found = seg.open_map(tmp_path / name)["classes"]
    assert (found.values == expected.values).all()


def test_postprocess_without_a_filter_copies_nothing(stored, tmp_path, capsys):
    output = tmp_path / "calm.tif"
    assert main(["postprocess", "--prediction", str(stored), "--output", str(output)]) == 2
    assert "give --majority, as 3, or --sieve, as 25" in capsys.readouterr().err
    assert not output.exists()


def test_postprocess_refuses_what_it_cannot_write(stored, capsys):
    words = ["postprocess", "--prediction", str(stored), "--output", "calm.png"]
    assert main(words) == 2
    assert ".tif, .tiff or .zarr" in capsys.readouterr().err
