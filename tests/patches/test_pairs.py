"""Laws of `seg4eo_xr.patches.pairs`."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.patches.pairs import Pairs, ScenePair, find_pairs


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def told(pairs: Pairs) -> list[tuple[str, str, str]]:
    return [(pair.name, pair.image.name, pair.label.name) for pair in pairs]


def test_the_names_of_the_custom_are_found_in_any_case(tmp_path):
    names = ("Image_1.tif", "label_1.TIF", "IMAGE-2.tiff", "Label_2.gpkg", "image3.jp2")
    touch(tmp_path, *names, "Label_3.shp", "Label_3.dbf", "Grid_1.shp", "grid_2.geojson")
    pairs = find_pairs(tmp_path)
    assert told(pairs) == [
        ("1", "Image_1.tif", "label_1.TIF"),
        ("2", "IMAGE-2.tiff", "Label_2.gpkg"),
        ("3", "image3.jp2", "Label_3.shp"),
    ]
    assert [pair.grid and pair.grid.name for pair in pairs] == [
        "Grid_1.shp",
        "grid_2.geojson",
        None,
    ]
    assert pairs.unmatched == ()


def test_what_has_no_partner_is_listed_and_so_are_rasters_of_other_names(tmp_path):
    alone = {"Image_2.tif", "Label_3.tif", "Grid_4.shp", "scene.tif"}
    touch(tmp_path, "Image_1.tif", "Label_1.tif", "notes.txt", "Image_1.tif.aux.xml", *alone)
    pairs = find_pairs(tmp_path)
    assert told(pairs) == [("1", "Image_1.tif", "Label_1.tif")]
    assert {path.name for path in pairs.unmatched} == alone
    assert "without a partner: 4" in str(pairs)


def test_subfolders_are_looked_into_on_request_and_hidden_ones_never(tmp_path):
    touch(
        tmp_path, *(f"{at}/{kind}_1.tif" for at in ("a", "b", ".c") for kind in ("Image", "Label"))
    )
    touch(tmp_path, "Image_1.tif", "Label_1.tif")
    assert [pair.name for pair in find_pairs(tmp_path)] == ["1"]
    pairs = find_pairs(tmp_path, recursive=True)
    assert {pair.name for pair in pairs} == {"1", "a/1", "b/1"}
    assert all(pair.image.parent == pair.label.parent for pair in pairs)


def test_folders_for_images_and_labels_pair_below_their_nearest_common_folder(tmp_path):
    places = [f"{site}/{kind}s/{kind}_1.tif" for site in "ab" for kind in ("image", "label")]
    touch(tmp_path, *places, "a/grid_1.shp")
    pairs = find_pairs(tmp_path, recursive=True)
    assert [pair.name for pair in pairs] == ["a/images/1", "b/images/1"]
    assert [pair.label.parent.parent.name for pair in pairs] == ["a", "b"]
    assert [bool(pair.grid) for pair in pairs] == [True, False]


def test_a_zarr_store_is_a_file_and_nothing_in_it_is(tmp_path):
    touch(tmp_path, "Image_1.zarr/Image_2.tif", "Label_1.tif", "Label_2.tif")
    pairs = find_pairs(tmp_path, recursive=True)
    assert told(pairs) == [("1", "Image_1.zarr", "Label_1.tif")]


def test_patterns_of_ones_own_take_the_group_called_id_or_the_first(tmp_path):
    touch(tmp_path, "s2_2020_north.tif", "mask_north_v2.tif")
    by_name = {"image_pattern": r"s2_(\d+)_(?P<id>\w+)\.tif"}
    pairs = find_pairs(tmp_path, **by_name, label_pattern=r"mask_([a-z]+)_v\d\.tif")
    assert told(pairs) == [("north", "s2_2020_north.tif", "mask_north_v2.tif")]


@pytest.mark.parametrize("pattern", ["image_[", r"image_\d+\.tif"])
@pytest.mark.parametrize("argument", ["image_pattern", "label_pattern", "grid_pattern"])
def test_a_pattern_that_cannot_work_is_named(tmp_path, argument, pattern):
    with pytest.raises(ValueError, match=f"{argument}.*{re.escape(repr(pattern))}"):
        find_pairs(tmp_path, **{argument: pattern})


def test_two_files_for_one_place_are_both_named(tmp_path):
    touch(tmp_path, "Image_1.tif", "Label_1.tif", "label-1.gpkg")
    with pytest.raises(ValueError, match=r"Label_1\.tif and .*label-1|label-1.* and .*Label_1"):
        find_pairs(tmp_path)
    touch(tmp_path / "deep", "a/Image_1.tif", "b/Label_1.tif", "c/Label_1.tif")
    with pytest.raises(ValueError, match=r"b/Label_1\.tif, .*c/Label_1\.tif"):
        find_pairs(tmp_path / "deep", recursive=True)


def test_nothing_found_tells_patterns_files_and_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        find_pairs(tmp_path / "missing")
    touch(tmp_path, "scene.tif", "deep/Image_1.tif")
    with pytest.raises(ValueError, match=r"holds scene\.tif; .*image_pattern .*--recursive"):
        find_pairs(tmp_path)
    with pytest.raises(ValueError, match=r"no image in .* has labels .*Image_1\.tif"):
        find_pairs(tmp_path, recursive=True)


keys = st.text("ab19_.", min_size=1, max_size=3).filter(lambda key: key.strip("_-"))
places = st.sampled_from(["", "a/", "a/b/", "c 10/", "c 9/"])


@given(st.sets(st.tuples(places, keys), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_every_pair_in_a_folder_is_found_once_in_an_order_of_its_own(wanted, shuffler):
    names = [f"{at}{kind}_{key}.tif" for at, key in sorted(wanted) for kind in ("Image", "Label")]
    shuffler.shuffle(names)
    with tempfile.TemporaryDirectory() as folder:
        root = touch(Path(folder), *names)
        pairs = find_pairs(root, recursive=True)
        assert len({pair.name for pair in pairs}) == len(pairs) == len(wanted)
        assert {pair.image.relative_to(root).as_posix() for pair in pairs} | {
            pair.label.relative_to(root).as_posix() for pair in pairs
        } == set(names)
        assert pairs.unmatched == ()


def test_numbers_are_sorted_as_numbers(tmp_path):
    numbers = list(range(1, 13))
    random.Random(0).shuffle(numbers)
    touch(tmp_path, *(f"{kind}_{i}.tif" for i in numbers for kind in ("Image", "Label")))
    assert [pair.name for pair in find_pairs(tmp_path)] == [str(i) for i in range(1, 13)]


def test_html_is_escaped():
    pair = ScenePair("<b>", Path("i<.tif"), Path("l&.tif"))
    shown = Pairs((pair,), (Path("<script>"),))._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "l&amp;.tif" in shown
    assert "<script>" not in shown
