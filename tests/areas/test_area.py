"""Areas and accuracies: the printed examples, unbiasedness, and what cannot be estimated."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.areas.area import areas_from_matrix, estimate_areas
from seg4eo_xr.areas.estimators import normal_quantile
from seg4eo_xr.areas.sample_table import UNFILLED, reference_codes
from seg4eo_xr.areas.strata import Strata
from seg4eo_xr.scenes.classes import ClassTable

# Olofsson et al. 2014, tables 8 and 9 and section 5.2: 30 m pixels, areas in ha
MATRIX = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
PIXELS = [200_000, 150_000, 3_200_000, 6_450_000]
TABLE_9 = [
    [0.0176, 0, 0.0013, 0.0011],
    [0, 0.0110, 0.0016, 0.0024],
    [0.0019, 0, 0.2967, 0.0213],
    [0.0040, 0.0020, 0.0179, 0.6212],
]

# Stehman 2014, table 2: the 40 points, stratum by stratum
STRATA = {1: 40_000, 2: 30_000, 3: 20_000, 4: 10_000}
MAPPED = "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"
REFERENCE = "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"


def olofsson(**options):
    return areas_from_matrix(MATRIX, PIXELS, pixel_area=900, **options)


def sample_of(stratum, mapped, reference):
    """A table of points; letters are classes 1, 2 and so on."""
    codes = [[ord(letter) - 64 for letter in text] for text in (mapped, reference)]
    columns = {"stratum": stratum, "map": codes[0], "reference": codes[1]}
    return pd.DataFrame({"id": np.arange(len(stratum)), **columns})


def stehman():
    return sample_of(np.repeat([1, 2, 3, 4], 10), MAPPED, REFERENCE)


def test_olofssons_example_comes_out_to_the_printed_digit():
    estimate = olofsson()
    np.testing.assert_array_equal(estimate.error_matrix.round(4), TABLE_9)
    hectares = estimate.area * 1e-4
    assert hectares.value.round().tolist() == [21158, 11686, 285770, 581386]
    assert hectares.half_width.round().tolist() == [6158, 3756, 15510, 16282]
    assert estimate.users_accuracy.value.round(2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert estimate.users_accuracy.half_width.round(2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert estimate.producers_accuracy.value.round(2).tolist() == [0.75, 0.85, 0.93, 0.96]
    # Printed are 0.21, 0.23, 0.03 and 0.01; the second and the last are not what the paper's own
    # equation 7 gives of its own table.
    assert estimate.producers_accuracy.half_width.round(2).tolist() == [0.21, 0.25, 0.03, 0.02]
    assert estimate.overall_accuracy.value.round(2).tolist() == [0.95]
    assert estimate.overall_accuracy.half_width.round(2).tolist() == [0.02]
    np.testing.assert_allclose(estimate.mapped_area.value, np.array(PIXELS) * 900)
    assert estimate.mapped_area.standard_error.tolist() == [0, 0, 0, 0]


def test_stehmans_example_comes_out_to_the_printed_digit():
    estimate = estimate_areas(stehman(), strata=STRATA, finite_population=True)
    share, error = estimate.share.value, estimate.share.standard_error
    assert share[[0, 2]].round(2).tolist() == [0.35, 0.20]
    assert error[[0, 2]].round(3).tolist() == [0.082, 0.064]
    assert estimate.overall_accuracy.value.round(2).tolist() == [0.63]
    assert estimate.overall_accuracy.standard_error.round(3).tolist() == [0.085]
    assert estimate.users_accuracy.value[1].round(3) == 0.574
    assert estimate.users_accuracy.standard_error[1].round(3) == 0.125
    assert estimate.producers_accuracy.value[1].round(3) == 0.794
    # Printed is 0.114, which is not what the paper's equation 28 gives of its own table.
    assert estimate.producers_accuracy.standard_error[1] == pytest.approx(0.1165, abs=5e-5)
    assert estimate.error_matrix[1, 2].round(2) == 0.08


def by_hand(matrix, pixels):
    """Equations 2 to 11 of Olofsson et al. 2014, as they stand."""
    n, size = np.array(matrix, float), np.array(pixels, float)
    rows, weights = n.sum(1), size / size.sum()
    p = weights[:, None] * n / rows[:, None]
    users, producers = p.diagonal() / p.sum(1), p.diagonal() / p.sum(0)
    overall = np.sqrt((weights**2 * users * (1 - users) / (rows - 1)).sum())
    found = (size[:, None] / rows[:, None] * n).sum(0)
    spread = size[:, None] ** 2 * n / rows[:, None] * (1 - n / rows[:, None]) / (rows - 1)[:, None]
    own = size**2 * (1 - producers) ** 2 * users * (1 - users) / (rows - 1)
    others = producers**2 * (spread.sum(0) - spread.diagonal())
    return {
        "overall": overall,
        "users": np.sqrt(users * (1 - users) / (rows - 1)),
        "producers": np.sqrt(own + others) / found,
        "share": np.sqrt(spread.sum(0)) / size.sum(),
    }


matrices = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(1, 60), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(matrices, st.data())
def test_where_strata_are_map_classes_it_is_olofssons_estimator(matrix, data):
    pixels = [data.draw(st.integers(1000, 10**7)) for _ in matrix]
    estimate, errors = areas_from_matrix(matrix, pixels), by_hand(matrix, pixels)
    for ours, theirs in (
        (estimate.overall_accuracy, "overall"),
        (estimate.users_accuracy, "users"),
        (estimate.producers_accuracy, "producers"),
        (estimate.share, "share"),
    ):
        np.testing.assert_allclose(ours.standard_error, errors[theirs], rtol=1e-6, atol=1e-12)


@given(matrices, st.data())
def test_shares_and_weights_sum_to_one_whatever_the_sample(matrix, data):
    pixels = [data.draw(st.integers(1000, 10**7)) for _ in matrix]
    estimate = areas_from_matrix(matrix, pixels)
    assert estimate.strata.weights.sum() == pytest.approx(1)
    assert estimate.error_matrix.sum() == pytest.approx(1)
    assert estimate.share.value.sum() == pytest.approx(1)
    assert estimate.area.value.sum() == pytest.approx(sum(pixels))
    assert estimate.error_matrix.trace() == pytest.approx(estimate.overall_accuracy.value[0])


@given(st.permutations(range(40)), st.permutations([1, 2, 3, 4]))
def test_neither_the_order_of_points_nor_the_names_of_strata_matter(order, names):
    expected = estimate_areas(stehman(), strata=STRATA)
    other = stehman().iloc[list(order)]
    other["stratum"] = other["stratum"].map(dict(zip([1, 2, 3, 4], names, strict=True)))
    sizes = {name: STRATA[code] for code, name in zip([1, 2, 3, 4], names, strict=True)}
    found = estimate_areas(other, strata=sizes)
    for name in ("share", "users_accuracy", "producers_accuracy", "iou"):
        for number in ("value", "standard_error"):
            ours, theirs = (getattr(getattr(e, name), number) for e in (found, expected))
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_stratum_cut_into_equal_ones_gives_the_same_areas():
    halves = stehman()
    halves["stratum"] = halves["stratum"] * 2 + np.arange(40) % 2
    sizes = {code * 2 + half: pixels // 2 for code, pixels in STRATA.items() for half in (0, 1)}
    found, expected = estimate_areas(halves, strata=sizes), estimate_areas(stehman(), strata=STRATA)
    np.testing.assert_allclose(found.share.value, expected.share.value)


def test_over_many_samples_it_is_unbiased_and_its_intervals_hold_the_truth():
    rng = np.random.default_rng(4)
    truth = np.repeat([1, 2, 3], [6000, 3000, 1000])
    mapped = np.where(rng.random(10_000) < 0.5, truth, rng.integers(1, 4, 10_000))
    strata = 1 + (np.arange(10_000) % 7 < 3) + 2 * (mapped == 3)
    sizes = {int(code): int((strata == code).sum()) for code in np.unique(strata)}
    members = {code: np.flatnonzero(strata == code) for code in sizes}
    shares, errors, overall = [], [], []
    for _ in range(400):
        chosen = np.concatenate([rng.choice(members[code], 120, replace=False) for code in sizes])
        columns = {"stratum": strata, "map": mapped, "reference": truth}
        sample = pd.DataFrame({"id": chosen, **{k: v[chosen] for k, v in columns.items()}})
        estimate = estimate_areas(sample, strata=sizes, finite_population=True)
        shares.append(estimate.share.value)
        errors.append(estimate.share.standard_error)
        overall.append(estimate.overall_accuracy.value[0])
    true_share = np.bincount(truth)[1:] / 10_000
    spread = np.std(shares, axis=0)
    assert (np.abs(np.mean(shares, axis=0) - true_share) < 4 * spread / 20).all()
    assert abs(np.mean(overall) - (mapped == truth).mean()) < 4 * np.std(overall) / 20
    np.testing.assert_allclose(np.mean(errors, axis=0), spread, rtol=0.1)
    held = np.abs(shares - true_share) <= 1.96 * np.array(errors)
    assert (held.mean(0) > 0.925).all()


def test_what_is_sampled_as_a_whole_has_no_error():
    sample = sample_of([1, 1, 1, 2], "AAAB", "AABB")
    estimate = estimate_areas(sample, strata={1: 3, 2: 1})
    assert estimate.area.value.tolist() == pytest.approx([2, 2])
    assert estimate.area.standard_error.tolist() == [0, 0]


def test_a_finite_population_lowers_errors_alone():
    sample, sizes = stehman(), dict.fromkeys(STRATA, 40)
    whole, part = (estimate_areas(sample, strata=sizes, finite_population=f) for f in (False, True))
    np.testing.assert_allclose(part.area.value, whole.area.value)
    factor = np.sqrt(1 - 10 / 40)
    np.testing.assert_allclose(part.area.standard_error, factor * whole.area.standard_error)


def test_a_class_that_one_side_lacks_is_kept_and_has_no_accuracy():
    sample = sample_of([1, 1, 1, 2, 2, 2], "AAABBB", "AACBBB")
    estimate = estimate_areas(sample, strata={1: 30, 2: 30})
    assert estimate.classes.codes == (1, 2, 3)
    assert np.isnan(estimate.users_accuracy.value).tolist() == [False, False, True]
    assert estimate.producers_accuracy.value[2] == 0
    assert estimate.to_dict()["classes"][2]["users_accuracy"]["value"] is None
    assert "–" in repr(estimate)


def test_names_and_codes_are_read_alike_and_the_rest_is_refused():
    table = ClassTable.from_codes([1, 2, 3, 4], ["Alp", "Bog", "Cliff", "Dune"])
    words = stehman()
    names = [table.names[code - 1] for code in words["reference"]]
    words["reference"] = [str(i % 4 + 1) if i < 0 else n.upper() for i, n in enumerate(names)]
    found = estimate_areas(words, strata=STRATA, classes=table)
    expected = estimate_areas(stehman(), strata=STRATA)
    np.testing.assert_array_equal(found.points, expected.points)
    words.loc[7, "reference"] = "Alpp"
    with pytest.raises(ValueError, match=r"'Alpp' \(point 7\), but the classes are: 1 Alp"):
        estimate_areas(words, strata=STRATA, classes=table)


def test_points_that_nobody_filled_in_are_an_error_or_left_out():
    sample = stehman()
    sample["reference"] = sample["reference"].astype(object)
    sample.loc[[3, 12], "reference"] = [None, np.nan]
    with pytest.raises(ValueError, match="2 of 40 points have no reference class: 3, 12"):
        estimate_areas(sample, strata=STRATA)
    estimate = estimate_areas(sample, strata=STRATA, drop_unfilled=True)
    assert estimate.points.sum((1, 2)).tolist() == [9, 9, 10, 10]


@pytest.mark.parametrize(
    ("cells", "dtype"), [([1, 2, None], "Float64"), ([1.0, 2.0, None], float), (["1.0", "2 "], str)]
)
def test_whole_numbers_are_codes_in_any_column(cells, dtype):
    column = pd.Series(cells, dtype=dtype)
    sample = pd.DataFrame({"id": range(len(column)), "reference": column})
    expected = [UNFILLED if cell is None else int(float(cell)) for cell in cells]
    table = ClassTable.from_codes([1, 2])
    assert reference_codes(sample, table).tolist() == expected
    assert reference_codes(sample, None).tolist() == expected


@pytest.mark.parametrize(
    ("change", "strata", "says"),
    [
        ({}, {1: 5, 2: 5, 3: 5}, r"holds 4, which are not among the strata \[1, 2, 3\]"),
        ({}, {**STRATA, 5: 100}, "stratum 'stratum 5' has 100 pixels and 0 judged points"),
        ({}, {**STRATA, 4: 0}, "has no pixel, but 10 points"),
        ({}, {**STRATA, 4: 9}, "has 9 pixels, but 10 points"),
        ({"stratum": [1] * 39 + [2]}, {1: 100, 2: 100}, "1 judged point, but two are needed"),
        ({}, None, "does not say how large its strata are"),
        ({"id": [7, 8] * 20}, STRATA, "the sample holds the points 7, 8 more than once"),
    ],
)
def test_strata_that_do_not_fit_are_told(change, strata, says):
    with pytest.raises(ValueError, match=says):
        estimate_areas(stehman().assign(**change), strata=strata)


@pytest.mark.parametrize("sizes", [{1: 0.6, 2: 0.4}, {1: 6.9, 2: 3.0}, {1: float("nan"), 2: 3}])
def test_sizes_of_strata_are_whole_numbers(sizes):
    with pytest.raises(ValueError, match=r"whole numbers, got \{1: "):
        estimate_areas(stehman(), strata=sizes)
    assert Strata.of_sizes({1: 6.0, 2: np.int64(3)}).pixels == (6, 3)


def test_a_stratum_of_no_pixel_and_no_point_is_left_out():
    estimate = estimate_areas(stehman(), strata={**STRATA, 5: 0})
    assert estimate.strata.codes == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("matrix", "pixels", "says"),
    [
        ([[1, 2]], [3], "square"),
        ([[5, 2], [2, 5]], [3], "pixels"),
        ([[5, -2], [2, 5]], [30, 30], "whole numbers"),
        ([[1, 0], [2, 5]], [30, 30], "two are needed"),
    ],
)
def test_matrices_that_do_not_fit_are_told(matrix, pixels, says):
    with pytest.raises(ValueError, match=says):
        areas_from_matrix(matrix, pixels)


def test_missing_columns_and_bad_strata_are_told():
    with pytest.raises(ValueError, match="lacks the columns map"):
        estimate_areas(stehman().drop(columns="map"), strata=STRATA)
    with pytest.raises(ValueError, match="all strata are empty"):
        Strata.of_sizes({1: 0, 2: 0})
    with pytest.raises(ValueError, match="level"):
        olofsson(level=95)


def test_the_level_sets_the_width():
    assert [normal_quantile(level) for level in (0.9, 0.95, 0.99)] == [1.645, 1.96, 2.576]
    wide, narrow = olofsson(level=0.99), olofsson(level=0.9)
    assert (wide.area.half_width > narrow.area.half_width).all()
    np.testing.assert_allclose(wide.area.high - wide.area.low, 2 * wide.area.half_width)


def test_the_report_reads_well_and_is_json(tmp_path):
    names = ["deforestation", "forest <gain>", "stable forest", "non-forest"]
    estimate = olofsson(classes=ClassTable.from_codes([1, 2, 3, 4], names))
    lines = repr(estimate).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    assert "21,158 ± 6,158" in lines[1]
    assert lines[-1] == "640 points in 4 strata"
    assert "forest &lt;gain&gt;" in estimate._repr_html_()
    report = json.loads(estimate.to_json(tmp_path / "areas.json").read_text())
    assert report["classes"][0]["area_m2"]["value"] == pytest.approx(211_578_000, rel=1e-4)
    assert sum(report["strata"]["weights"]) == pytest.approx(1)
    table = estimate.table.set_index("name")
    assert table.loc["deforestation", "users_accuracy"] == pytest.approx(0.88)
    assert "area px" in repr(areas_from_matrix(MATRIX, PIXELS))
    assert "area km²" in repr(areas_from_matrix(MATRIX, PIXELS, pixel_area=1e6))
