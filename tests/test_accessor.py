import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot

import seg4eo_xr as seg
from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.testing import plain_contract, synthetic_sentinel2


def test_the_accessor_walks_from_scene_to_map(tmp_path):
    scene, labels = synthetic_sentinel2((192, 192), seed=2)
    store = scene.seg4eo.extract_patches(labels, tmp_path / "patches.zarr", patch_size=64)
    config = seg.TrainConfig(encoder_name="resnet18", pretrained=False, epochs=1, batch_size=4)
    run = seg.train(store, tmp_path / "run", config, progress=False)

    prediction = scene.chunk(y=100, x=100).seg4eo.predict(run.best_iou_path)
    assert prediction["classes"].chunks is not None
    written = prediction.seg4eo.to_cog(tmp_path / "map.tif", confidence=tmp_path / "sure.tif")
    opened = seg.open_map(written)
    np.testing.assert_array_equal(opened["classes"], prediction["classes"])
    stored = seg.open_map(prediction.seg4eo.to_zarr(tmp_path / "map.zarr"))
    np.testing.assert_array_equal(stored["confidence"], prediction["confidence"])

    evaluation = opened.seg4eo.evaluate(labels)
    assert evaluation.pixels == int(((labels != 255) & (scene != 0).all("band")).sum())
    assert scene.seg4eo.plot().get_figure() is not None
    assert opened.seg4eo.plot().get_figure() is not None
    for shown in (evaluation, run, seg.load_checkpoint(run.best_iou_path)):
        assert "forest" in repr(shown)
        assert len(repr(shown)) < 2000


def test_plots_are_there_for_a_notebook_and_for_every_kind_of_array(tmp_path):
    scene, labels = synthetic_sentinel2((96, 96), seed=2)
    for drawn in (scene, scene.isel(band=0), labels):
        figure = drawn.seg4eo.plot().get_figure()
        assert pyplot.get_fignums()[-1] == figure.number
    labels.rio.to_raster(tmp_path / "labels.tif")
    assert seg.open_map(tmp_path / "labels.tif").seg4eo.plot() is not None


def test_a_map_opened_by_plain_xarray_keeps_its_crs(tmp_path):
    _, labels = synthetic_sentinel2((96, 96), seed=2)
    written = labels.to_dataset(name="classes").seg4eo.to_zarr(tmp_path / "map.zarr")
    assert xr.open_zarr(written).rio.crs == labels.rio.crs
    with pytest.raises(ValueError, match="open_map"):
        xr.open_zarr(written).seg4eo.evaluate(labels)


def test_normalize_is_lazy_and_the_one_function():
    scene, labels = synthetic_sentinel2((128, 128), seed=2)
    bands, count = scene["band"].values.tolist(), scene.sizes["band"]
    table = seg.ClassTable.from_attrs(labels.attrs)
    contract = plain_contract(bands, table, bright=0.4, scale=(1e-4,) * count)
    lazy = scene.chunk(y=50, x=50).seg4eo.normalize(contract)
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, normalize(scene.values, contract))
    assert float(lazy.max()) <= 1
    assert "_FillValue" not in lazy.attrs
    xr.testing.assert_equal(lazy["x"], scene["x"])
