"""Laws of `seg4eo_xr.geometry.splits`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scattered import grid_of, pixels, scattered_patches

from seg4eo_xr.geometry.footprints import Footprints
from seg4eo_xr.geometry.splits import SPLITS, ColumnSplit, RandomSplit, SceneSplit, SpatialSplit

SPATIAL = settings(max_examples=60, deadline=None)
PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))
SHARES = (0.6, 0.2, 0.2)


@st.composite
def ratios(draw):
    weights = draw(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(0, 5)))
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def gap(patches, first, second):
    if not first.any() or not second.any():
        return np.inf
    a, b = pixels(patches, first), pixels(patches, second)
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min()


def assigned(rule, patches):
    """What a rule says, unless it says that there is too little to split."""
    try:
        return rule.assign(patches)
    except ValueError as error:
        assume("choose" not in str(error) and "too few" not in str(error))
        raise


@given(shares=ratios(), count=st.integers(1, 300), seed=st.integers(0, 99))
def test_a_random_split_takes_every_patch_and_meets_the_ratios(shares, count, seed):
    names = RandomSplit(*shares, seed).assign(Footprints.of(np.arange(count), 0, 4, 4))
    assert set(names) <= set(SPLITS)
    assert len(names) == count
    for name, share in zip(SPLITS, shares, strict=True):
        found = int((names == name).sum())
        assert abs(found - share * count) <= 3
        if count >= 3 and share > 1e-9:
            assert found >= 1


def test_ratios_hold_of_all_scenes_though_each_is_added_alone():
    names = np.array([], "<U10")
    for count in (1, 2, 1, 3, 5, 8, 80):
        rows = np.arange(len(names) + count)
        fixed = np.concatenate([names, np.full(count, "")])
        names = RandomSplit(*SHARES).assign(Footprints.of(rows, 0, 8, 8, fixed=fixed))
    assert [int((names == split).sum()) for split in SPLITS] == [60, 20, 20]


def test_a_split_follows_from_its_seed():
    grid = grid_of(12, 8, 8, scenes=np.arange(144) // 4)
    rules = (RandomSplit, SceneSplit, lambda **options: SpatialSplit(block=24, **options))
    for rule in rules:
        first = rule(random_seed=1).assign(grid)
        assert (first == rule(random_seed=1).assign(grid)).all()
        assert (first != rule(random_seed=2).assign(grid)).any()


@SPATIAL
@given(
    patches=st.one_of(
        scattered_patches(),
        scattered_patches(fixed=True),
        st.builds(grid_of, st.integers(4, 8), st.integers(3, 10), st.integers(1, 10)),
    ),
    block=st.one_of(st.none(), st.integers(8, 60)),
    buffer=st.floats(0, 20),
    seed=st.integers(0, 20),
)
def test_no_pixel_lies_within_the_buffer_of_another_split(patches, block, buffer, seed):
    if block:
        rule = SpatialSplit(block, buffer, *SHARES, seed)
    else:
        rule = SceneSplit(*SHARES, seed, buffer=buffer)
    names = assigned(rule, patches)
    free = patches.fixed == ""
    assert (names[~free] == patches.fixed[~free]).all()
    for first, second in PAIRS:
        one, other = names == first, names == second
        assert gap(patches, one & free, other) > buffer
        assert gap(patches, one, other & free) > buffer


@given(patches=scattered_patches(fixed=True))
def test_patches_that_were_dealt_before_keep_their_split(patches):
    free = patches.fixed == ""
    patches = replace(patches, groups=np.full(len(patches), "Validation"))
    for rule in (RandomSplit(), ColumnSplit("fold")):
        names = rule.assign(patches)
        assert (names[~free] == patches.fixed[~free]).all()
    assert (names[free] == "validation").all()


def test_blocks_stay_whole_and_only_the_buffer_takes_patches():
    grid = grid_of(20, 8, 8)
    names = SpatialSplit(block=32).assign(grid)
    block_of = (grid.rows // 32) * 100 + grid.cols // 32
    assert "" not in names
    for block in np.unique(block_of):
        assert len(set(names[block_of == block])) == 1
    shares = [(names == split).mean() for split in SPLITS]
    assert shares == pytest.approx([0.75, 0.15, 0.10], abs=0.05)
    buffered = SpatialSplit(block=32, buffer=8).assign(grid)
    kept = buffered != ""
    assert (buffered[kept] == names[kept]).all()
    assert (buffered[names == "test"] == "test").all()


def test_a_scene_added_later_shares_the_blocks_of_those_before():
    rule = SpatialSplit(block=32)
    before = rule.assign(grid_of(20, 8, 8))
    both = grid_of(20, 8, 8)
    fixed = np.concatenate([before, np.full(400, "")])
    twice = replace(Footprints.joined([both, both]), fixed=fixed)
    assert (rule.assign(twice) == np.concatenate([before, before])).all()


def test_scenes_stay_whole_and_leave_out_what_another_split_shows():
    # ten scenes in a row, each of which shows the last column of the scene before
    scene, row, col = (axis.ravel() for axis in np.mgrid[0:10, 0:4, 0:5])
    patches = Footprints.of(row * 8, (scene * 4 + col) * 8, 8, 8, scenes=scene)
    names = SceneSplit(*SHARES).assign(patches)
    of_scene = [set(names[scene == number]) - {""} for number in range(10)]
    assert all(len(found) == 1 for found in of_scene)
    owners = [found.pop() for found in of_scene]
    assert [owners.count(split) for split in SPLITS] == [6, 2, 2]
    left_out = names == ""
    seams = sum(one != other for one, other in pairwise(owners))
    assert left_out.sum() == 4 * seams > 0
    assert set(col[left_out]) <= {0, 4}


def test_a_column_names_the_splits_in_any_spelling():
    words = ["train", "Training", "VAL", "valid", " validation ", "Test", "testing", ""]
    names = ColumnSplit("fold").assign(Footprints.of(np.arange(8), 0, 8, 8, groups=words))
    assert names.tolist() == ["train"] * 2 + ["validation"] * 3 + ["test"] * 2 + [""]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomSplit(0.5, 0.5, 0.5), "must make 1"),
        (lambda: RandomSplit(0.0, 0.5, 0.5), "train_ratio must be above 0"),
        (lambda: RandomSplit(random_seed=-1), "random_seed"),
        (lambda: SpatialSplit(0), "block"),
        (lambda: SpatialSplit(64, -1), "buffer"),
        (lambda: SceneSplit(buffer=np.nan), "buffer"),
        (lambda: SpatialSplit(1000).assign(grid_of(4, 8, 8)), "1 blocks .*choose a smaller block"),
        (lambda: SpatialSplit(16, 500).assign(grid_of(8, 8, 8)), "leaves no"),
        (
            lambda: SceneSplit().assign(grid_of(8, 8, 8, scenes=np.arange(64) % 2)),
            "2 scenes, too few .*val_ratio or test_ratio 0",
        ),
        (
            lambda: SceneSplit().assign(Footprints.of(0, 0, 8, 8, scenes=np.arange(9))),
            "leaves no train patch; choose SpatialSplit",
        ),
        (
            lambda: ColumnSplit("fold").assign(Footprints.of(0, 0, 8, 8, groups=["3", "train"])),
            "column 'fold' of the grid names no split in '3'; accepted are train",
        ),
        (
            lambda: ColumnSplit("fold").assign(Footprints.of(0, 0, 8, 8)),
            "no patch has a value in column 'fold'",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("seed", range(5))
def test_patches_with_little_ground_are_no_split_by_themselves(seed):
    heights = np.where(np.arange(24) % 2, 224, 23)
    names = RandomSplit(random_seed=seed).assign(
        Footprints.of(np.arange(24) * 224, 0, heights, 224)
    )
    for split in SPLITS:
        assert (heights[names == split] == 224).any()
    assert [int((names == split).sum()) for split in SPLITS] == [18, 4, 2]
