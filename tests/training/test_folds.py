from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.geometry.footprints import Footprints, near
from seg4eo_xr.training.folds import FoldOptions, deal_folds, fold_positions, strata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seg4eo_xr.patches.store import PatchStore


def a_store(
    side: int = 12, *, stride: int = 8, split: dict[str, Any] | None = None, seed: int = 0
) -> Any:
    """A store of side² patches of 8 px without pixels, a sixth of them for testing."""
    random = np.random.default_rng(seed)
    rows, columns = np.divmod(np.arange(side * side), side)
    names = random.permutation(np.resize(["train"] * 4 + ["validation", "test"], side * side))
    pixels = random.multinomial(64, [0.7, 0.25, 0.05], side * side)
    footprints = Footprints.of(rows * stride, columns * stride, 8, 8, scenes=columns // 2)
    return SimpleNamespace(
        indices=lambda name: np.flatnonzero(names == name),
        footprints=lambda: footprints,
        coordinate=lambda name: pixels,
        attrs={"split": split or {"rule": "RandomSplit"}},
    )


def masks(store: Any, fold: dict[Any, NDArray[np.int64]]) -> dict[str, NDArray[np.bool_]]:
    count = len(store.footprints())
    return {name: np.isin(np.arange(count), positions) for name, positions in fold.items()}


@settings(max_examples=10)
@given(
    n_splits=st.integers(2, 6),
    block=st.sampled_from([None, 8, 16, 24]),
    seed=st.integers(0, 99),
)
def test_each_patch_is_scored_once_and_never_trains_for_its_score(
    n_splits: int, block: int | None, seed: int
) -> None:
    store = a_store(seed=seed)
    folds = fold_positions(store, FoldOptions(n_splits, block), seed)
    used = np.sort(np.concatenate([store.indices("train"), store.indices("validation")]))
    scored = np.concatenate([fold["test"] for fold in folds])
    assert len(folds) == n_splits
    np.testing.assert_array_equal(np.sort(scored), used)
    for fold in folds:
        together = np.concatenate(list(fold.values()))
        assert len(np.unique(together)) == len(together)
        assert np.isin(together, used).all()
        assert all(len(positions) for positions in fold.values())


def test_blocks_are_dealt_whole() -> None:
    store = a_store()
    for fold in fold_positions(store, FoldOptions(4, fold_block=24), 0):
        footprints = store.footprints()
        blocks = {
            name: set(zip(footprints.rows[p] // 24, footprints.cols[p] // 24, strict=True))
            for name, p in fold.items()
        }
        assert not blocks["test"] & blocks["train"]
        assert not blocks["test"] & blocks["validation"]
        assert not blocks["validation"] & blocks["train"]


@pytest.mark.parametrize(("stride", "buffer"), [(8, 0.0), (4, 0.0), (8, 8.0)])
def test_nothing_within_the_buffer_of_what_is_scored_trains(stride: int, buffer: float) -> None:
    store = a_store(16, stride=stride)
    options = FoldOptions(3, fold_block=48, fold_buffer=buffer)
    for fold in fold_positions(store, options, 0):
        its = masks(store, fold)
        reach = buffer or None
        assert not near(store.footprints(), its["train"], its["test"], reach).any()
        assert not near(store.footprints(), its["validation"], its["test"], reach).any()
        assert not near(store.footprints(), its["train"], its["validation"], reach).any()


@pytest.mark.parametrize(
    ("split", "unit"),
    [({"rule": "SceneSplit"}, "scenes"), ({"rule": "SpatialSplit", "block": 32}, "blocks")],
)
def test_left_out_the_stores_own_split_says_what_is_kept_together(
    split: dict[str, Any], unit: str
) -> None:
    store = a_store(split=split)
    footprints = store.footprints()
    keys = footprints.scenes if unit == "scenes" else footprints.cols // 32
    if unit == "blocks":
        keys = keys + 100 * (footprints.rows // 32)
    for fold in fold_positions(store, FoldOptions(2), 0):
        assert not set(keys[fold["test"]]) & set(keys[fold["train"]])


def test_the_deal_is_a_function_of_the_seed() -> None:
    first, again, other = (fold_positions(a_store(), FoldOptions(), seed) for seed in (1, 1, 2))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(first[0][name], again[0][name])
    assert not np.array_equal(first[0]["test"], other[0]["test"])


def test_folds_have_like_sizes_and_like_shares_of_a_rare_class() -> None:
    pixels = np.zeros((100, 2), np.int64)
    pixels[:, 0] = 60
    pixels[:10, 1] = 4  # the rare class is in one patch of ten, and never the largest there
    folds = deal_folds(pixels, np.arange(100), 5, 0)
    assert np.bincount(folds).tolist() == [20] * 5
    assert np.bincount(folds[:10]).tolist() == [2] * 5


def test_a_class_too_rare_for_the_folds_is_dealt_with_the_commonest() -> None:
    pixels = np.array([[9, 0]] * 9 + [[8, 1]])
    assert strata(pixels, 2).tolist() == [0] * 10
    assert sorted(deal_folds(pixels, np.arange(10), 5, 0).tolist()) == sorted([*range(5)] * 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FoldOptions(5, fold_block=1000), "1 groups .* 5 folds; choose a smaller --n_splits"),
        (FoldOptions(5, fold_buffer=500), "has no train patches left; .*--fold_buffer"),
    ],
)
def test_folds_that_cannot_be_are_refused(options: FoldOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fold_positions(a_store(), options, 0)


def test_a_group_has_to_be_left_to_choose_the_epoch() -> None:
    two_scenes = a_store(4, split={"rule": "SceneSplit"})
    with pytest.raises(ValueError, match="no patches are left to choose the epoch"):
        fold_positions(two_scenes, FoldOptions(2), 0)


@pytest.mark.parametrize(
    ("name", "value"), [("n_splits", 1), ("fold_block", 0), ("fold_buffer", -1.0)]
)
def test_impossible_options_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        FoldOptions(**{name: value})  # type: ignore[arg-type]


def test_a_real_store_is_dealt(patches: PatchStore) -> None:
    folds = fold_positions(patches, FoldOptions(3, fold_block=128), 0)
    tested = set(patches.indices("test").tolist())
    assert not tested & {int(i) for fold in folds for p in fold.values() for i in p}
