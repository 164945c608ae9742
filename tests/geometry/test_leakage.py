"""Laws of `seg4eo_xr.geometry.leakage`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scattered import grid_of, pixels, scattered_patches

from seg4eo_xr.geometry.leakage import LeakageReport, leakage
from seg4eo_xr.geometry.splits import RandomSplit, SpatialSplit


def brute_force(patches, splits, digests, first, second):
    one, other = (np.flatnonzero(splits == name) for name in (first, second))
    if not len(one) or not len(other):
        return None, 0, 0
    far = pixels(patches, other)
    gaps = [np.sqrt(((pixels(patches, [i])[:, None] - far) ** 2).sum(-1)).min() for i in one]
    return (
        min(gaps),
        gaps.count(0),
        sum(digest > 0 and digest in digests[other] for digest in digests[one]),
    )


@settings(deadline=None, max_examples=60)
@given(patches=scattered_patches(fixed=True), seed=st.integers(0, 99))
def test_the_report_is_that_of_the_pixels(patches, seed):
    splits = np.where(patches.fixed == "", "unused", patches.fixed)
    digests = np.random.default_rng(seed).integers(0, 30, len(splits)).astype(np.uint64)
    report = leakage(patches, splits, digests)
    for pair in ("test-train", "validation-train", "test-validation"):
        distance, overlapping, duplicates = brute_force(patches, splits, digests, *pair.split("-"))
        assert report.distances[pair] == (distance if distance is None else pytest.approx(distance))
        assert report.overlapping[pair] == overlapping
        assert report.duplicates[pair] == duplicates
    assert LeakageReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    faults = [
        (counts[f"{first}-train"], f"{first} patches {fault}")
        for counts, fault in ((report.overlapping, "share"), (report.duplicates, "have the image"))
        for first in ("validation", "test")
    ]
    problems = report.problems()
    assert len(problems) == sum(count > 0 for count, _ in faults)
    for count, fault in faults:
        assert count == 0 or any(p.startswith(f"{count} {fault}") for p in problems)


def test_a_clean_split_has_no_problems_and_says_how_far_apart_it_is():
    grid = grid_of(20, 8, 8)
    digests = np.arange(400, dtype=np.uint64)
    report = leakage(grid, SpatialSplit(32, buffer=12).assign(grid), digests)
    assert report.problems() == []
    assert all(distance > 12 for distance in report.distances.values())
    assert report.lines()[0].startswith("validation and train: ")
    assert len(report.lines()) == 3
    assert all("nothing in common" in line for line in report.lines())


def test_windows_that_overlap_and_copies_are_told():
    grid = grid_of(10, 4, 8)
    report = leakage(grid, RandomSplit().assign(grid), np.ones(100, np.uint64))
    problems = "\n".join(report.problems())
    assert "10 test patches share ground with training patches" in problems
    assert "15 validation patches have the image of a training patch" in problems
    assert "test and train: they share ground, 10 test patches overlap, 10 test" in "\n".join(
        report.lines()
    )


def test_a_split_that_is_empty_has_no_line():
    report = leakage(grid_of(2, 8, 8), np.array(["train"] * 4), np.arange(4, dtype=np.uint64))
    assert report.lines() == []
    assert set(report.distances.values()) == {None}
