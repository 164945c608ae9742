from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from matplotlib import pyplot
from matplotlib.image import imread

from seg4eo_xr.plotting import plot_confidence, plot_labels, plot_map, plot_scene, preview
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing import synthetic_sentinel2


@pytest.fixture(scope="module")
def scene_and_labels():
    return synthetic_sentinel2((60, 90), seed=1)


@pytest.fixture(scope="module")
def prediction(scene_and_labels):
    labels = scene_and_labels[1]
    confidence = labels.astype(np.float32).where(labels != 255) / 6
    return labels.to_dataset(name="classes").assign(confidence=confidence)


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def test_a_map_has_the_colours_of_its_classes_and_white_for_nodata(scene_and_labels):
    labels = scene_and_labels[1]
    ax = plot_map(labels)
    picture, codes = shown(ax), labels.values
    colors = labels.attrs["flag_colors"].split()
    for code, color in zip(labels.attrs["flag_values"], colors, strict=True):
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (picture[codes == code] == rgb).all()
    assert (picture[codes == 255] == 255).all()


def test_the_legend_names_every_class(scene_and_labels):
    ax = plot_labels(scene_and_labels[1])
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == ["water", "forest", "grassland", "cropland", "bare soil", "built-up"]
    assert ax.get_title() == "labels"


def test_labels_without_a_table_get_a_palette(scene_and_labels):
    labels = scene_and_labels[1].copy()
    labels.attrs = {"_FillValue": 255}
    texts = [text.get_text() for text in plot_map(labels).figure.legends[0].get_texts()]
    assert texts == [f"class {code}" for code in np.unique(labels) if code != 255]


def test_a_scene_is_drawn_in_its_natural_colours_with_white_for_nodata(scene_and_labels):
    scene = scene_and_labels[0]
    ax = plot_scene(scene)
    assert ax.get_title() == "scene (B04, B03, B02)"
    missing = (scene == 0).any("band").values
    assert missing.any()
    assert (shown(ax)[missing] == 1).all()
    assert shown(ax).min() == 0


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["Blue", "Green", "Red", "NIR"], "Red, Green, Blue"),
        (["band_1", "band_2", "band_3", "band_4"], "band_1, band_2, band_3"),
    ],
)
def test_bands_are_picked_by_their_names(scene_and_labels, names, title):
    scene = scene_and_labels[0].isel(band=slice(4)).assign_coords(band=names)
    assert plot_scene(scene).get_title() == f"scene ({title})"


def test_one_band_is_grey_and_other_numbers_are_refused(scene_and_labels):
    scene = scene_and_labels[0]
    assert shown(plot_scene(scene, bands=["B08"])).ndim == 2
    with pytest.raises(ValueError, match="one or three"):
        plot_scene(scene, bands=["B08", "B04"])
    with pytest.raises(ValueError, match="no band 'B99' among"):
        plot_scene(scene, bands=["B99", "B04", "B03"])


def test_a_scene_of_nodata_is_white(scene_and_labels):
    scene = xr.zeros_like(scene_and_labels[0])
    assert (shown(plot_scene(scene)) == 1).all()


def test_axes_are_in_kilometres_or_degrees_where_the_pixels_lie(scene_and_labels):
    labels = scene_and_labels[1]
    ax = plot_map(labels)
    left, bottom, right, top = np.array(labels.rio.bounds()) / 1000
    assert ax.images[0].get_extent() == pytest.approx([left, right, bottom, top])
    assert ax.get_xlabel() == "easting (km)"
    degrees = labels.assign_coords(x=labels.x / 1e6, y=labels.y / 1e6).drop_vars("spatial_ref")
    assert plot_map(degrees.rio.write_crs(4326)).get_xlabel() == "longitude (°)"


def test_large_layers_are_thinned_before_they_are_computed():
    codes = da.ones((1500, 2600), chunks=500, dtype=np.uint8)
    labels = place(codes, 32633, Affine(10, 0, 4e5, 0, -10, 5e6))
    assert shown(plot_map(labels)).shape == (500, 867, 3)


def test_confidence_runs_from_0_to_1(prediction):
    ax = plot_confidence(prediction["confidence"])
    assert ax.images[0].get_clim() == (0, 1)


def test_a_preview_shows_all_there_is(scene_and_labels, prediction, tmp_path):
    scene, labels = scene_and_labels
    sizes = [
        imread(preview(scene, reference, layers, tmp_path / "preview.png", title="t")).shape
        for reference, layers in (
            (None, prediction[["classes"]]),
            (labels, prediction[["classes"]]),
            (labels, prediction),
        )
    ]
    assert sizes[0][1] < sizes[1][1]
    assert sizes[2][0] > sizes[1][0]
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]


def test_a_picture_for_a_file_is_no_figure_of_pyplot_and_a_plot_is(scene_and_labels, tmp_path):
    scene, labels = scene_and_labels
    preview(scene, None, labels.to_dataset(name="classes"), tmp_path / "picture.png")
    assert not pyplot.get_fignums()
    figure = plot_map(labels).figure
    assert pyplot.get_fignums() == [figure.number]


def test_the_legend_stands_beside_axes_that_were_given(scene_and_labels):
    _, axes = pyplot.subplots(1, 2)
    plot_map(scene_and_labels[1], ax=axes[1])
    assert axes[1].get_legend() is not None
    assert not axes[1].figure.legends
