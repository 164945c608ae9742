"""Several maps evaluated as one: the figures are those of all pixels together."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
from shapely import Point

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.testing import synthetic_sentinel2

PARTS = {"west": slice(0, 40), "middle": slice(40, 70), "east": slice(70, 96)}


@pytest.fixture(scope="module")
def whole():
    _, labels = synthetic_sentinel2((64, 96), seed=2, nodata_wedge=False)
    wrong = labels.copy(data=np.where(np.arange(96) % 7 < 2, 2, labels.values).astype(np.uint8))
    return wrong, labels


@pytest.fixture(scope="module")
def files(tmp_path_factory, whole):
    folder = tmp_path_factory.mktemp("parts")
    for prefix, raster in zip(("map", "mask"), whole, strict=True):
        for name, columns in PARTS.items():
            part = raster.isel(x=columns).drop_vars("spatial_ref").rio.write_crs(raster.rio.crs)
            seg.write_cog(part.to_dataset(name="classes"), folder / f"{prefix}_{name}_2024.tif")
    return folder


def paths(folder, prefix, names=PARTS):
    return [folder / f"{prefix}_{name}_2024.tif" for name in names]


def test_maps_together_have_the_figures_of_one_map(files, whole):
    together = seg.evaluate(paths(files, "map"), paths(files, "mask"), border_widths=(1,))
    one = seg.evaluate(*whole)
    np.testing.assert_array_equal(together.matrix, one.matrix)
    assert together.classes == one.classes
    assert list(together.scenes) == [f"map_{name}_2024" for name in PARTS]
    assert sum(scene.pixels for scene in together.scenes.values()) == one.pixels
    alone = seg.evaluate(paths(files, "map")[1], paths(files, "mask")[1])
    np.testing.assert_array_equal(together.scenes["map_middle_2024"].matrix, alone.matrix)
    np.testing.assert_array_equal(
        together.borders[1].near + together.borders[1].beyond, together.matrix
    )


def test_maps_are_paired_with_their_references_by_name(files):
    other_order = paths(files, "mask", ["east", "west", "middle"])
    found = seg.evaluate(paths(files, "map"), other_order)
    np.testing.assert_array_equal(
        found.matrix, seg.evaluate(paths(files, "map"), paths(files, "mask")).matrix
    )


def test_names_that_fit_in_part_are_refused(files):
    with pytest.raises(ValueError, match="only 2 of 3 maps have a reference of the same name"):
        seg.evaluate(paths(files, "map"), paths(files, "mask", ["west", "east", "north"]))


def test_arrays_are_paired_by_their_order(whole):
    found, expected = ([raster.isel(x=part) for part in PARTS.values()] for raster in whole)
    together = seg.evaluate(found, expected)
    np.testing.assert_array_equal(together.matrix, seg.evaluate(*whole).matrix)
    assert list(together.scenes) == ["1", "2", "3"]


def one_class(folder, name, code):
    _, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
    plain = labels.copy(data=np.full_like(labels.values, code))
    return seg.write_cog(plain.to_dataset(name="classes"), folder / f"{name}.tif")


@pytest.mark.parametrize(
    ("maps", "references"),
    [
        (["map_01", "map_02", "map_10"], {"mask_1": 0, "mask_10": 2, "mask_2": 1}),
        (["a_2020", "b_2021"], {"truth_B": 1, "truth_A": 0}),
        (["S2A_20200101_T32TMT", "S2B_20200104_T33UUP"], {"T33UUP-lc": 1, "T32TMT-lc": 0}),
    ],
)
def test_names_are_compared_by_words_and_numbers(tmp_path, maps, references):
    found = seg.evaluate(
        [one_class(tmp_path, name, code) for code, name in enumerate(maps, start=1)],
        [one_class(tmp_path, name, code + 1) for name, code in references.items()],
    )
    assert found.accuracy == 1


def test_names_that_fit_in_two_ways_are_refused(tmp_path):
    maps = [one_class(tmp_path, name, 1) for name in ("2020_a", "2021_b")]
    references = [one_class(tmp_path, name, 1) for name in ("b_2020_lc", "a_2021_lc")]
    with pytest.raises(ValueError, match="only 0 of 2 maps have a reference of the same name"):
        seg.evaluate(maps, references)


def test_parts_of_one_file_all_count(files, whole, tmp_path):
    path = seg.write_cog(whole[0].to_dataset(name="classes"), tmp_path / "map.tif")
    layer = seg.open_map(path)["classes"]
    parts = [layer.isel(x=part) for part in PARTS.values()]
    references = paths(files, "mask")
    for reference in (whole[1], references):
        together = seg.evaluate(parts, reference)
        np.testing.assert_array_equal(together.matrix, seg.evaluate(*whole).matrix)
        assert len(together.scenes) == 3


def test_arrays_without_names_are_paired_with_files_by_their_order(tmp_path):
    _, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
    maps = [labels.copy(data=np.full_like(labels.values, code)) for code in (2, 1)]
    references = [one_class(tmp_path, f"tile_{code}", code) for code in (2, 1)]
    assert seg.evaluate(maps, references).accuracy == 1


def test_chips_of_one_class_each_are_evaluated_without_a_warning():
    _, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
    bare = labels.drop_attrs(deep=False).rio.write_nodata(255)
    chips = {code: bare.copy(data=np.full_like(labels.values, code)) for code in (1, 2)}
    together = seg.evaluate([chips[1], chips[2], chips[1]], [chips[1], chips[2], chips[2]])
    assert list(together.classes.codes) == [1, 2]
    np.testing.assert_array_equal(together.matrix, np.array([[1, 0], [1, 1]]) * 64 * 64)


def test_a_map_that_is_given_twice_is_refused(files, capsys):
    twice = [*map(str, paths(files, "map")), str(paths(files, "map")[0])]
    with pytest.raises(ValueError, match="more than once"):
        seg.evaluate(twice, paths(files, "mask")[0])
    line = ["evaluate", "--prediction", *twice, "--reference", str(paths(files, "mask")[0])]
    assert main(line) == 2
    assert "give each map once" in capsys.readouterr().err


def test_one_reference_serves_all_maps(files, whole):
    together = seg.evaluate(paths(files, "map"), whole[1])
    np.testing.assert_array_equal(together.matrix, seg.evaluate(*whole).matrix)


def test_points_count_once_whichever_map_they_lie_on(files, whole):
    west, _, _, north = whole[1].rio.bounds()
    places = [Point(west + x, north - 305) for x in (15, 505, 805, -100)]
    points = gpd.GeoDataFrame({"cover": ["forest"] * 4}, geometry=places, crs=whole[1].rio.crs)
    found = seg.evaluate(paths(files, "map"), points, column="cover").points
    assert (found.compared, found.outside) == (3, 1)


@pytest.mark.parametrize(
    ("maps", "references", "options", "message"),
    [
        ([], [], {}, "empty list"),
        (["west", "east"], ["west"], {}, "there are 2 maps .* but 1 references"),
        (["west", "east"], ["west", "east"], {"zones": "zones.gpkg"}, "zones .* need one map"),
    ],
)
def test_lists_that_do_not_fit_are_refused(files, maps, references, options, message):
    with pytest.raises(ValueError, match=message):
        seg.evaluate(paths(files, "map", maps), paths(files, "mask", references), **options)


def test_the_shell_reports_all_maps_and_each(files, tmp_path, capsys):
    line = ["evaluate", "--prediction", *map(str, paths(files, "map"))]
    line += ["--reference", *map(str, paths(files, "mask")), "--output", f"{tmp_path}/r.json"]
    assert main(line) == 0
    expected = seg.evaluate(paths(files, "map"), paths(files, "mask"))
    told = capsys.readouterr().out
    assert told.strip() == repr(expected)
    assert "map_middle_2024" in told
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["pixels"] == expected.pixels
    assert report["scenes"]["map_east_2024"]["pixels"] == 64 * 26
