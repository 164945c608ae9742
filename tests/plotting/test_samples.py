"""Laws of `seg4eo_xr.plotting.samples`: what is drawn is what the store holds."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.image import imread

from seg4eo_xr.canvas import wrapped
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.plotting import plot_samples
from seg4eo_xr.plotting.samples import _shares, read_sample
from seg4eo_xr.testing import synthetic_sentinel2

GREY = 0.5


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    # The wedge of nodata and the clouds give pixels without data and without label.
    scene, labels = synthetic_sentinel2((160, 160), seed=3, clouds=True)
    path = tmp_path_factory.mktemp("store") / "patches.zarr"
    return extract_patches(scene, labels, path, patch_size=32, progress=False)


def panels(figure):
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes]


def test_a_row_a_patch_with_image_label_and_both(store):
    figure = plot_samples(store, split="train", indices=(0, 2))
    assert len(figure.axes) == 6
    position = store.indices("train")[2]
    assert figure.axes[3].get_title() == f"patch {store.coordinate('id')[position]}"
    assert "B04, B03, B02" in figure.get_suptitle()
    image, label, overlay = panels(figure)[3:]
    codes = np.asarray(store.arrays()[1][position])
    labelled = np.isin(codes, store.contract.classes.codes) & (image != GREY).any(-1)
    colors = dict(zip(store.contract.classes.codes, store.contract.classes.rgb(), strict=True))
    for code in np.unique(codes[labelled]):
        np.testing.assert_allclose(
            label[labelled & (codes == code)] * 255,
            [colors[code]] * int((labelled & (codes == code)).sum()),
            atol=1e-3,
        )
    assert (
        (overlay >= np.minimum(image, label) - 1e-6) & (overlay <= np.maximum(image, label) + 1e-6)
    ).all()
    np.testing.assert_array_equal(overlay[~labelled], image[~labelled])


def test_pixels_without_data_are_grey_everywhere_and_in_the_legend(store):
    valid_fraction = store.coordinate("valid_fraction")
    position = int(np.argmin(np.where(valid_fraction > 0, valid_fraction, 2)))
    assert valid_fraction[position] < 1
    sample = read_sample(store, position, [2, 1, 0], None)
    missing = (np.asarray(store.arrays()[0][position]) == store.contract.nodata).any(0)
    for picture in (sample.image, sample.label, sample.overlay):
        assert (picture[missing] == GREY).all()
    assert sample.missing
    split = store.splits[position]
    place = int(np.flatnonzero(store.indices(split) == position)[0])
    legend = plot_samples(store, split=split, indices=[place]).legends[0]
    assert "no data" in [text.get_text() for text in legend.get_texts()]


def test_the_shares_of_the_classes_are_told(store):
    position = int(store.indices("train")[0])
    pixels = store.coordinate("class_pixels")[position]
    largest = int(np.argmax(pixels))
    share = 100 * pixels[largest] / store.patch_size**2
    told = read_sample(store, position, [0], None).shares
    name = store.contract.classes.names[largest]
    assert told.replace("\N{NO-BREAK SPACE}", " ").startswith(f"{name} {share:.1f} %")


def test_the_legend_names_the_classes_that_are_shown(store):
    position = int(store.indices("train")[0])
    pixels = store.coordinate("class_pixels")[position]
    legend = plot_samples(store, indices=[0]).legends[0]
    told = {text.get_text() for text in legend.get_texts()} - {"unlabelled", "no data"}
    names = zip(store.contract.classes.names, pixels, strict=True)
    assert told == {name for name, count in names if count}


def test_the_stretch_of_the_store_is_the_same_for_all_patches_and_that_of_a_patch_its_own(store):
    statistics = store.statistics("train")
    low, high = (statistics[name].values[[2, 1, 0]] for name in ("p01", "p99"))
    position = int(store.indices("train")[1])
    values = np.moveaxis(np.asarray(store.arrays()[0][position])[[2, 1, 0]], 0, -1)
    valid = (np.asarray(store.arrays()[0][position]) != store.contract.nodata).all(0)
    shown = panels(plot_samples(store, indices=[1]))[0]
    expected = np.clip((values - low) / (high - low), 0, 1)
    # Dark tones are lifted, and their order stays.
    np.testing.assert_array_equal(shown[valid] == 0, expected[valid] == 0)
    np.testing.assert_array_equal(shown[valid] == 1, expected[valid] == 1)
    own = panels(plot_samples(store, indices=[1], stretch="patch"))[0]
    assert own[valid].max() == 1
    assert own[valid].min() == 0


def test_one_band_is_grey_and_bands_are_named(store):
    image = panels(plot_samples(store, indices=[0], bands=["B08"]))[0]
    assert (image == image[..., :1]).all()
    with pytest.raises(ValueError, match="B99"):
        plot_samples(store, bands=["B99"])


def test_what_lies_beyond_the_split_is_left_out_and_nothing_at_all_is_an_error(store):
    count = len(store.indices("test"))
    assert len(plot_samples(store, split="test", indices=range(count + 5)).axes) == 3 * count
    for indices in ([count], [-1], []):
        with pytest.raises(ValueError, match=f"'test' .* has {count} patches"):
            plot_samples(store, split="test", indices=indices)
    with pytest.raises(ValueError, match="split must be one of"):
        plot_samples(store, split="val")
    with pytest.raises(ValueError, match="stretch"):
        plot_samples(store, stretch="scene")


def test_a_picture_for_a_file_is_no_figure_of_pyplot(store, tmp_path):
    plot_samples(str(store.path), indices=[0], path=tmp_path / "sample.png")
    assert imread(tmp_path / "sample.png").ndim == 3
    assert not pyplot.get_fignums()


def test_captions_break_between_words():
    names = ("permanently irrigated and non-irrigated arable cropland", "water")
    told = _shares(names, np.array([30, 10]), 100)
    lines = wrapped(told, 46).replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert lines == [
        "permanently irrigated and non-irrigated arable",
        "cropland 30.0 %, water 10.0 %",
    ]
