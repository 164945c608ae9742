from __future__ import annotations

import dask
import numpy as np
import pytest

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import SENTINEL2_BANDS, chunkings, raising_scheduler, synthetic_sentinel2


def _mean_spectrum(scene, labels, code):
    return dict(
        zip(SENTINEL2_BANDS, scene.values[:, labels.values == code].mean(axis=1), strict=True)
    )


@pytest.mark.parametrize("clouds", [False, True])
@pytest.mark.parametrize("chunks", [16, 37])
def test_a_lazy_scene_equals_the_one_made_at_once(chunks, clouds):
    whole = synthetic_sentinel2((65, 90), seed=4, clouds=clouds)
    with dask.config.set(scheduler=raising_scheduler):
        lazy = synthetic_sentinel2((65, 90), seed=4, clouds=clouds, chunks=chunks)
    for one, other in zip(whole, lazy, strict=True):
        assert other.chunks is not None
        assert one.identical(other.compute())


def test_a_corner_of_a_whole_tile_is_made_alone():
    scene, labels = synthetic_sentinel2((10980, 10980), chunks=1024)
    corner = scene[:, -64:, -64:].compute(scheduler="sync")
    assert corner.shape == (10, 64, 64)
    assert (corner > 0).all()
    assert (labels[-64:, -64:].compute(scheduler="sync") <= 6).all()


def test_seeds_decide():
    one, other = (synthetic_sentinel2((64, 64), seed=seed)[0] for seed in (1, 2))
    assert one.identical(synthetic_sentinel2((64, 64), seed=1)[0])
    # seeds must not be shifted copies of each other either
    assert (one.values[:, 1:] != other.values[:, :-1]).mean() > 0.9


def test_every_class_occurs_and_the_wedge_is_nodata():
    scene, labels = synthetic_sentinel2((256, 256), seed=0)
    assert set(np.unique(labels)) == {1, 2, 3, 4, 5, 6, 255}
    missing = (scene.values == 0).any(axis=0)
    assert np.array_equal(missing, (scene.values == 0).all(axis=0))
    assert np.array_equal(missing, labels.values == 255)
    assert 0.02 < missing.mean() < 0.2
    assert (synthetic_sentinel2((64, 64), nodata_wedge=False)[0].values > 0).all()


def test_spectra_are_those_of_their_surfaces():
    scene, labels = synthetic_sentinel2((256, 256), seed=0)
    table = ClassTable.from_attrs(labels.attrs)
    means = {
        name: _mean_spectrum(scene, labels, code)
        for code, name in zip(table.codes, table.names, strict=True)
    }

    def ndvi(name):
        spectrum = means[name]
        return (spectrum["B08"] - spectrum["B04"]) / (spectrum["B08"] + spectrum["B04"])

    assert ndvi("forest") > ndvi("grassland") > ndvi("bare soil") > ndvi("water")
    assert means["water"]["B11"] < 600
    assert means["bare soil"]["B11"] > means["bare soil"]["B08"] > means["bare soil"]["B04"]


def test_bands_of_20_metres_are_repeated():
    scene, _ = synthetic_sentinel2((64, 64), nodata_wedge=False)
    squares = scene.values.reshape(10, 32, 2, 32, 2)
    alike = (squares == squares[:, :, :1, :, :1]).all(axis=(1, 2, 3, 4))
    assert alike.tolist() == [name not in ("B02", "B03", "B04", "B08") for name in SENTINEL2_BANDS]


def test_clouds_are_unlabelled_and_bright():
    clear, cloudy = (synthetic_sentinel2((256, 256), seed=3, clouds=c) for c in (False, True))
    hidden = (cloudy[1].values == 255) & (clear[1].values != 255)
    assert 0.01 < hidden.mean() < 0.6
    assert cloudy[0].max() > 5000 > clear[0].sel(band="B02").max()


def test_two_classes_are_forest_and_the_rest():
    shape = (128, 128)
    binary, full = (synthetic_sentinel2(shape, seed=5, classes=n)[1] for n in (2, 6))
    valid = full.values != 255
    assert np.array_equal(binary.values[valid] == 1, full.values[valid] == 2)
    assert ClassTable.from_attrs(binary.attrs).names == ("other", "forest")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"shape": (0, 5)}, "at least 1 pixel"), ({"shape": (8, 8), "classes": 3}, "2 or 6")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic_sentinel2(**arguments)


def test_the_raising_scheduler_raises():
    scene, _ = synthetic_sentinel2((16, 16), chunks=8)
    with (
        dask.config.set(scheduler=raising_scheduler),
        pytest.raises(AssertionError, match="only have been built"),
    ):
        scene.compute()


def test_chunkings_cut_the_axis():
    from hypothesis import given

    @given(chunkings(7))
    def sums(chunks):
        assert sum(chunks) == 7
        assert min(chunks) > 0
        assert len(chunks) <= 5

    sums()
