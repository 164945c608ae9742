"""Laws of `seg4eo_xr.patches.pairs`."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.patches.extract import extract_patches
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


def test_pictures_are_taken_where_there_is_nothing_else(tmp_path):
    touch(tmp_path, "images/1.jpg", "images/1.jgw", "masks/1.png", "masks/1.pgw", "masks/1.jpg")
    assert told(find_pairs(tmp_path)) == [("images/1", "1.jpg", "1.png")]
    # a picture next to a GeoTIFF of its name is its quicklook
    touch(tmp_path, "images/1.tif", "masks/1.tif", "images/2.png", "masks/2.png")
    assert told(find_pairs(tmp_path)) == [("images/1", "1.tif", "1.tif")]


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


def pair_of(pairs: Pairs, root: Path) -> list[tuple[str, str]]:
    return [tuple(p.relative_to(root).as_posix() for p in (one.image, one.label)) for one in pairs]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.tif", "masks/{}.tif"),
        ("images/{}.tif", "labels/{}.gpkg"),
        ("Images/{}.tif", "annotations/{}.tif"),
        ("img/{}.tif", "gt/{}.tif"),
        ("images/image_{}.tif", "masks/image_{}.tif"),  # the same names in both folders
        ("images/{}.tif", "masks/{}_mask.tif"),
        ("images/area/{}.tif", "masks/area/{}.tif"),
        ("{}_image.tif", "{}_mask.tif"),
        ("{}_image.tif", "{}_gt.tif"),
        ("img_{}.tif", "{}_label.shp"),
        ("image_{}.tif", "image_{}_mask.tif"),
        ("imagery_{}.tif", "label_ry_{}.tif"),
    ],
)
@pytest.mark.parametrize("key", ["x", "12"])
def test_the_usual_layouts_need_no_pattern(tmp_path, image, label, key):
    names = (image.format(key), label.format(key))
    touch(tmp_path, *names, image.format("alone"))
    for recursive in (True, False) if "area" not in image else (True,):
        pairs = find_pairs(tmp_path, recursive=recursive)
        assert pair_of(pairs, tmp_path) == [names]
        assert [path.relative_to(tmp_path).as_posix() for path in pairs.unmatched] == [
            image.format("alone")
        ]


def test_the_folders_images_and_masks_are_no_rivals_of_files_that_lie_above(tmp_path):
    touch(tmp_path, "Image_1.tif", "Label_1.tif", "images/2.tif", "masks/2.tif")
    assert [pair.name for pair in find_pairs(tmp_path)] == ["1"]


def test_a_pattern_with_a_slash_sees_the_folders(tmp_path):
    touch(tmp_path, *(f"{site}/{kind}/1.tif" for site in "ab" for kind in ("s2", "lc")))
    patterns = {"image_pattern": r"s2/(.+)\.tif", "label_pattern": r"lc/(.+)\.tif"}
    pairs = find_pairs(tmp_path, **patterns, recursive=True)
    assert pair_of(pairs, tmp_path) == [(f"{site}/s2/1.tif", f"{site}/lc/1.tif") for site in "ab"]


def test_a_file_that_both_patterns_take_is_what_its_name_or_folder_says(tmp_path):
    both = dict.fromkeys(("image_pattern", "label_pattern"), r".*?(\d+)\.tif")
    touch(tmp_path, "images_and_masks/images/1.tif", "images_and_masks/masks/1.tif")
    touch(tmp_path, "flat/Image_2.tif", "flat/Label_2.tif")
    pairs = find_pairs(tmp_path, **both, recursive=True)
    assert pair_of(pairs, tmp_path) == [
        ("flat/Image_2.tif", "flat/Label_2.tif"),
        ("images_and_masks/images/1.tif", "images_and_masks/masks/1.tif"),
    ]


def test_no_file_is_paired_with_itself(tmp_path):
    touch(tmp_path, "a/1.tif", "b/1.tif")
    both = dict.fromkeys(("image_pattern", "label_pattern"), r"(\d+)\.tif")
    with pytest.raises(ValueError, match=r"a/1\.tif, .*b/1\.tif can be image and label alike"):
        find_pairs(tmp_path, **both, recursive=True)
    with pytest.raises(ValueError, match=r"1\.tif can be image and label alike.*--label_pattern"):
        find_pairs(tmp_path / "a", **both)


def test_a_file_has_one_role_in_all_pairs(tmp_path):
    touch(tmp_path, "1.tif", "1_x.tif", "1_x_x.tif")
    with pytest.raises(ValueError, match=r"1_x\.tif would be the labels of .*1\.tif and the image"):
        find_pairs(tmp_path, image_pattern=r"(.+)\.tif", label_pattern=r"(.+)_x\.tif")


@pytest.mark.parametrize("image", ["a.tif", ["b.tif", "./a.tif"]])
def test_one_file_is_no_pair(image):
    with pytest.raises(ValueError, match=r"a\.tif is given as the scene .* and as its labels"):
        ScenePair("1", image, Path("a.tif"))
    with pytest.raises(ValueError, match=r"a\.tif is given as the scene"):
        extract_patches(image, "a.tif", "never.zarr", progress=False)


def test_links_to_folders_are_followed_once(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(elsewhere, "Image_1.tif", "Label_1.tif")
    touch(root, "own/Image_2.tif", "own/Label_2.tif")
    links = {"here": elsewhere, "again": elsewhere, "aaa": root / "own", "own/loop": root}
    for name, target in links.items():
        (root / name).symlink_to(target, target_is_directory=True)
    pairs = find_pairs(root, recursive=True)
    assert [pair.name for pair in pairs] == ["again/1", "own/2"]


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
