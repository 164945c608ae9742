"""Laws of `seg4eo_xr.patches.grids`."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.patches.grids import polygon_windows, regular_windows

CRS = "EPSG:32633"
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_400_000)


def scene_of(height, width):
    scene = xr.DataArray(np.zeros((1, height, width), np.uint8), dims=("band", "y", "x"))
    return scene.rio.write_crs(CRS).rio.write_transform(TRANSFORM)


def cell(row, col, height, width):
    left, top = TRANSFORM @ (col, row)
    right, bottom = TRANSFORM @ (col + width, row + height)
    return shapely.box(left, bottom, right, top)


def frame_of(windows, **columns):
    return gpd.GeoDataFrame(columns, geometry=[cell(*window) for window in windows], crs=CRS)


def as_tuples(windows):
    return list(
        zip(
            windows.rows.tolist(),
            windows.cols.tolist(),
            windows.heights.tolist(),
            windows.widths.tolist(),
            strict=True,
        )
    )


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    patch=st.integers(1, 30),
    stride=st.one_of(st.none(), st.integers(1, 40)),
)
def test_regular_windows_lie_inside_and_what_is_left_out_is_counted(height, width, patch, stride):
    if patch > min(height, width):
        with pytest.raises(ValueError, match="smaller than one patch"):
            regular_windows((height, width), patch, stride, "drop")
        return
    windows = regular_windows((height, width), patch, stride, "drop")
    hits = np.zeros((height, width), int)
    for row, col, h, w in as_tuples(windows):
        assert (h, w) == (patch, patch)
        assert row >= 0
        assert row + h <= height
        assert col >= 0
        assert col + w <= width
        hits[row : row + h, col : col + w] += 1
    step = stride or patch
    if step >= patch:
        assert hits.max() == 1
    expected = {
        (r, c)
        for r in range(0, height - patch + 1, step)
        for c in range(0, width - patch + 1, step)
    }
    assert {(r, c) for r, c, _, _ in as_tuples(windows)} == expected
    assert len(set(windows.ids)) == len(windows)
    kept = regular_windows((height, width), patch, stride)
    assert len(windows) + sum(windows.dropped.values()) == len(kept)


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    patch=st.integers(1, 120),
    stride=st.one_of(st.none(), st.integers(1, 40)),
    edges=st.sampled_from(["pad", "shift"]),
)
def test_no_ground_is_lost_at_the_edges(shape, patch, stride, edges):
    windows = regular_windows(shape, patch, stride, edges)
    assert not windows.dropped
    assert len(set(windows.ids)) == len(windows)
    assert (windows.heights == patch).all()
    within = windows.within(shape)
    assert (within.heights > 0).all()
    assert (within.widths > 0).all()
    if edges == "shift":
        assert (within.heights == min(patch, shape[0])).all()
        assert (within.widths == min(patch, shape[1])).all()
    hits = np.zeros(shape, int)
    for row, col, h, w in as_tuples(within):
        hits[row : row + h, col : col + w] += 1
    step = patch if stride is None else stride
    if step <= patch:
        assert hits.min() == 1
    if step >= patch and edges == "pad":
        assert hits.max() == 1
    dropped = regular_windows(shape, patch, stride, "drop") if patch <= min(shape) else None
    if dropped is not None:
        assert set(dropped.ids) <= set(windows.ids)


@settings(deadline=None, max_examples=25)
@given(
    windows=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 50), st.integers(1, 20), st.integers(1, 20)),
        min_size=1,
        max_size=10,
    )
)
def test_polygons_drawn_on_pixels_give_exactly_these_windows(windows):
    assert as_tuples(polygon_windows(frame_of(windows), scene_of(60, 70))) == windows


def test_another_crs_and_a_file_give_the_same_windows(tmp_path):
    windows = [(0, 0, 16, 16), (7, 20, 16, 16), (40, 50, 12, 20)]
    frame = frame_of(windows, name=["a", "b", "c"])
    for path in (tmp_path / "grid.gpkg", tmp_path / "grid.parquet"):
        if path.suffix == ".gpkg":
            frame.to_file(path)
        else:
            frame.to_parquet(path)
        read = polygon_windows(path, scene_of(60, 70), "name")
        assert as_tuples(read) == windows
        assert read.ids.tolist() == ["a", "b", "c"]
    far = polygon_windows(frame.to_crs("EPSG:4326"), scene_of(60, 70))
    assert np.abs(np.array(as_tuples(far)) - np.array(windows)).max() <= 2
    assert far.ids.tolist() == ["0", "1", "2"]


def test_cells_outside_are_left_out_and_counted():
    windows = [(0, 0, 8, 8), (-4, 0, 8, 8), (500, 0, 8, 8), (52, 62, 8, 8)]
    cells = frame_of(windows)
    frame = gpd.GeoDataFrame(geometry=[*cells.geometry, shapely.Polygon()], crs=cells.crs)
    read = polygon_windows(frame, scene_of(60, 70))
    assert as_tuples(read) == [windows[0], windows[3]]
    assert read.ids.tolist() == ["0", "3"]
    assert read.dropped == {
        "are empty or smaller than a pixel": 1,
        "lie outside the scene": 1,
        "reach past the edge of the scene": 1,
    }


def test_a_rotated_cell_has_the_window_of_its_bounding_box():
    frame = frame_of([(10, 20, 8, 8)])
    turned = frame.assign(geometry=frame.rotate(45))
    assert as_tuples(polygon_windows(turned, scene_of(60, 70))) == [(8, 18, 11, 11)]


def test_columns_come_along_as_text():
    windows = [(0, 0, 8, 8), (-4, 0, 8, 8), (8, 0, 8, 8), (16, 0, 8, 8)]
    frame = frame_of(windows, cell=[7, 8, None, 9.5], fold=["train", "test", None, "val"])
    read = polygon_windows(frame, scene_of(60, 70), "cell", "fold")
    assert read.ids.tolist() == ["7", "2", "9.5"]
    assert read.groups.tolist() == ["train", "", "val"]
    assert polygon_windows(frame, scene_of(60, 70)).groups.tolist() == ["", "", ""]
    assert regular_windows((60, 70), 30).groups.tolist() == [""] * 6


def test_bad_grids_are_named(tmp_path):
    scene, frame = scene_of(60, 70), frame_of([(0, 0, 8, 8)], name=["a"])
    with pytest.raises(FileNotFoundError, match=r"none\.gpkg"):
        polygon_windows(tmp_path / "none.gpkg", scene)
    text = tmp_path / "text.gpkg"
    text.write_text("no vector file")
    with pytest.raises(OSError, match=r"text\.gpkg"):
        polygon_windows(text, scene)
    for columns in (("id",), (None, "id")):
        with pytest.raises(ValueError, match=r"no column 'id'; it has \['name'\]"):
            polygon_windows(frame, scene, *columns)
    with pytest.raises(ValueError, match="has no CRS"):
        polygon_windows(frame.set_crs(None, allow_override=True), scene)
    with pytest.raises(ValueError, match="no polygon inside the scene"):
        polygon_windows(frame_of([(900, 900, 8, 8)]), scene)
    with pytest.raises(ValueError, match="the grid has no rows"):
        polygon_windows(frame[:0], scene)
    with pytest.raises(ValueError, match=r"the cells of the grid claim .* look like metres"):
        polygon_windows(frame.set_crs("EPSG:4326", allow_override=True), scene)
    with pytest.raises(ValueError, match="stride must be at least 1"):
        regular_windows((60, 70), 8, 0)


def test_geometries_that_are_no_valid_polygons_are_named():
    scene = scene_of(60, 70)
    box = cell(0, 0, 8, 8)
    left, bottom, right, top = box.bounds
    bow_tie = shapely.Polygon([(left, bottom), (right, top), (right, bottom), (left, top)])
    spike = shapely.Polygon([*box.exterior.coords[:3], box.exterior.coords[1], (left, bottom)])
    frame = gpd.GeoDataFrame(geometry=[box, bow_tie, None, spike], crs=CRS)
    with pytest.raises(
        ValueError, match=r"2 invalid polygons \(rows 1, 3.*Self-intersection.*make_valid"
    ):
        polygon_windows(frame, scene)
    mended = frame.assign(geometry=shapely.make_valid(frame.geometry))
    assert as_tuples(polygon_windows(mended, scene)) == [(0, 0, 8, 8)] * 3
    lines = gpd.GeoDataFrame(geometry=[box, box.exterior, box.centroid], crs=CRS)
    with pytest.raises(ValueError, match=r"2 geometries .*\(LinearRing, Point; rows 1, 2"):
        polygon_windows(lines, scene)
