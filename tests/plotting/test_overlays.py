"""Laws of overlays, comparisons and web maps."""

from __future__ import annotations

import builtins
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot

from seg4eo_xr.plotting import explore, plot_comparison, plot_confidence, plot_overlay, plot_scene
from seg4eo_xr.plotting.overlays import classes_picture
from seg4eo_xr.plotting.webmaps import to_web_mercator
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def scene_and_labels():
    return synthetic_sentinel2((60, 90), seed=1)


@pytest.fixture(scope="module")
def wrong(scene_and_labels):
    """The labels, wrong in the first ten rows."""
    labels = scene_and_labels[1].copy(deep=True)
    rows = labels.values[:10]
    rows[rows != 255] = rows[rows != 255] % 6 + 1
    return labels


def shown(ax, number=0):
    return np.asarray(ax.images[number].get_array())


def test_classes_lie_over_the_scene_and_nodata_lets_it_through(scene_and_labels):
    scene, labels = scene_and_labels
    ax = plot_overlay(scene, labels, opacity=0.4)
    np.testing.assert_array_equal(shown(ax), shown(plot_scene(scene)))
    alpha = shown(ax, 1)[..., 3]
    assert (alpha[labels == 255] == 0).all()
    assert (alpha[labels != 255] == 102).all()
    assert ax.get_figure().legends


def test_a_map_of_a_part_lies_where_it_belongs(scene_and_labels):
    scene, labels = scene_and_labels
    part = labels[20:40, 30:]
    ax = plot_overlay(scene, part)
    left, bottom, right, top = np.array(part.rio.bounds(recalc=True)) / 1000
    assert ax.images[1].get_extent() == pytest.approx([left, right, bottom, top])
    whole = np.array(scene.rio.bounds())[[0, 2]] / 1000
    assert ax.get_xlim() == pytest.approx(tuple(whole))


@given(st.floats(0, 1))
def test_the_opacity_is_that_of_pixels_with_a_class(opacity):
    table = ClassTable.from_codes([1, 2])
    picture = classes_picture(np.array([[1, 2, 255]], np.uint8), table, opacity)
    assert picture[0, :, 3].tolist() == [round(255 * opacity)] * 2 + [0]


def test_overlays_refuse_another_crs_and_other_opacities(scene_and_labels):
    scene, labels = scene_and_labels
    with pytest.raises(ValueError, match="warp=True"):
        plot_overlay(scene, labels.rio.write_crs(32634))
    with pytest.raises(ValueError, match="opacity lies from 0 to 1, got 2"):
        plot_overlay(scene, labels, opacity=2)


def test_a_comparison_marks_what_differs_and_nothing_else(scene_and_labels, wrong):
    scene, labels = scene_and_labels
    figure = plot_comparison(wrong, labels, scene=scene)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:3] == ["scene (B04, B03, B02)", "reference", "map"]
    marked = np.ma.filled(shown(figure.axes[3]).astype(float), np.nan)
    expected = np.where(labels == 255, np.nan, (wrong != labels).astype(float))
    np.testing.assert_array_equal(marked, expected)
    share = 100 * np.nanmean(expected)
    assert titles[3] == f"different: {share:.1f} % of the pixels shown"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == ["alike", "different"]


def test_classes_are_compared_by_name_as_evaluate_does(scene_and_labels):
    labels = scene_and_labels[1]
    table = ClassTable.from_attrs(labels.attrs)
    other = labels.copy(data=np.where(labels == 255, 255, labels + 100).astype(np.uint8))
    codes = [code + 100 for code in table.codes]
    other.attrs.update(ClassTable.from_codes(codes, table.names, table.colors).to_attrs())
    figure = plot_comparison(labels, other)
    assert figure.axes[-1].get_title() == "different: 0.0 % of the pixels shown"


def test_a_comparison_for_a_file_is_no_figure_of_pyplot(scene_and_labels, wrong, tmp_path):
    plot_comparison(wrong, scene_and_labels[1], path=tmp_path / "c.png", figsize=(9, 3))
    assert (tmp_path / "c.png").stat().st_size > 5000
    assert not pyplot.get_fignums()


def test_size_title_and_measure_are_the_callers(scene_and_labels):
    scene, labels = scene_and_labels
    ax = plot_scene(scene, figsize=(3, 2), title="here")
    assert ax.get_title() == "here"
    assert ax.get_figure().get_size_inches().tolist() == [3, 2]
    spread = (labels.astype(np.float32) / 100).rename("disagreement")
    ax = plot_confidence(spread)
    assert ax.get_title() == "disagreement"
    assert ax.images[0].get_clim()[1] == pytest.approx(float(spread.max()))
    with pytest.raises(ValueError, match="isel\\(time=0\\)"):
        plot_scene(scene.expand_dims("time"))


def layers_of(page):
    return re.findall(r'"([^"]+)" : image_overlay|"(polygons)" : geo_json', page)


def test_a_web_map_has_layers_a_legend_and_the_places(scene_and_labels):
    scene, labels = scene_and_labels
    named = labels.assign_attrs(
        ClassTable.from_codes(range(1, 7), ["<b>", *"bcdef"]).to_attrs()
    ).to_dataset(name="classes")
    named["confidence"] = labels.where(labels != 255).astype(np.float32) / 6
    polygons = named.seg4eo.to_polygons(min_pixels=60)
    page = explore(named, scene=scene, polygons=polygons, tiles=None)
    html = page.get_root().render()
    for word in ("scene", "classes", "confidence", "polygons", "&lt;b&gt;"):
        assert word in html
    (south, west), (north, east) = page.get_bounds()
    bounds = scene.rio.transform_bounds("EPSG:4326")
    assert (west, south, east, north) == pytest.approx(bounds, abs=1e-3)
    assert len(html) < 2e6


def test_a_warped_picture_shows_what_lies_there(scene_and_labels):
    labels = scene_and_labels[1]
    table = ClassTable.from_attrs(labels.attrs)
    picture = classes_picture(labels.values, table)
    warped, (west, south, east, north) = to_web_mercator(picture, labels)
    places = labels.rio.reproject("EPSG:3857", shape=warped.shape[:2])
    assert west < east
    assert south < north
    same = classes_picture(places.values, table)
    assert (warped == same).all(-1).mean() > 0.95
    assert max(warped.shape) <= 1024


def test_explore_says_what_it_lacks(scene_and_labels, monkeypatch):
    labels = scene_and_labels[1]
    with pytest.raises(ValueError, match="give a map, a scene or polygons"):
        explore()
    with pytest.raises(ValueError, match="write_crs"):
        explore(labels.drop_vars("spatial_ref"))
    monkeypatch.setattr("seg4eo_xr.plotting.webmaps._MOST_POLYGONS", 2)
    with pytest.raises(ValueError, match="min_pixels"):
        explore(polygons=labels.to_dataset(name="classes").seg4eo.to_polygons())
    found = builtins.__import__

    def without_folium(name, *arguments, **options):
        if name == "folium":
            raise ModuleNotFoundError("No module named 'folium'")
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_folium)
    with pytest.raises(ImportError, match=re.escape("pip install -e '.[notebook]'")):
        labels.seg4eo.explore()


def test_polygons_of_a_file_are_shown_with_what_they_say(scene_and_labels, tmp_path):
    path = tmp_path / "p.gpkg"
    scene_and_labels[1].to_dataset(name="classes").seg4eo.to_polygons(path, min_pixels=60)
    page = explore(polygons=path, tiles=None)
    assert "class" in json.dumps(page.get_root().render())
