import dask
import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from shapely import box

import seg4eo_xr as seg
from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.testing import (
    plain_contract,
    raising_scheduler,
    synthetic_sentinel2,
    untrained_checkpoint,
)


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


def test_tab_completion_shows_what_can_be_done_with_each():
    scene, labels = synthetic_sentinel2((32, 32))
    offered = [name for name in dir(scene.seg4eo) if not name.startswith("_")]
    for name in ("clip_scene", "mask_scene", "predict", "plan", "plot", "overlay", "explore"):
        assert name in offered
        assert getattr(scene.seg4eo, name).__doc__
    prediction = labels.to_dataset(name="classes")
    for name in ("statistics", "evaluate", "compare", "to_polygons", "draw_sample", "to_cog"):
        assert name in dir(prediction.seg4eo)


def test_chains_stay_lazy_until_the_end():
    scene, labels = synthetic_sentinel2((200, 200), seed=2, chunks=64)
    area = gpd.GeoDataFrame(geometry=[box(*scene[:, :100, :120].rio.bounds())], crs=scene.rio.crs)
    model = untrained_checkpoint(*synthetic_sentinel2((64, 64), seed=2), patch_size=32)
    with dask.config.set(scheduler=raising_scheduler):
        part = scene.seg4eo.clip_scene(area).seg4eo.mask_scene(labels, [1])
        predicted = part.seg4eo.predict(model, overlap=8).seg4eo.majority_filter(3)
        changed = predicted.seg4eo.reclassify(dict.fromkeys(range(1, 7), 9), names={9: "land"})
    assert changed["classes"].chunks is not None
    assert changed["classes"].shape == part.shape[1:]


def test_methods_do_what_the_functions_do(tmp_path):
    scene, labels = synthetic_sentinel2((96, 96), seed=2)
    prediction = labels.to_dataset(name="classes").assign(
        confidence=labels.where(labels != 255).astype(np.float32) / 6
    )
    xr.testing.assert_identical(scene.seg4eo.band_statistics(), seg.band_statistics(scene))
    assert labels.seg4eo.class_counts() == seg.class_counts(labels)
    xr.testing.assert_identical(
        scene.seg4eo.open_labels(labels), seg.open_labels(labels, like=scene)
    )
    assert repr(prediction.seg4eo.statistics()) == repr(seg.map_statistics(prediction))
    stated = prediction.seg4eo.reliability(labels).to_dict()
    assert stated == seg.reliability(prediction, labels).to_dict()
    changed = prediction.seg4eo.change_layer(labels)
    xr.testing.assert_identical(changed, seg.change_layer(prediction, labels))
    options = {"size": 120, "minimum": 5, "seed": 3}
    drawn = prediction.seg4eo.draw_sample(**options)
    assert drawn.equals(seg.draw_sample(prediction, **options))
    published = prediction.seg4eo.to_region(tmp_path / "region")
    assert (published / "collection.json").is_file()
    cube = xr.concat([scene, scene], xr.DataArray(["2021-06-03", "2021-06-13"], dims="time"))
    cube = cube.assign_coords(time=cube["time"].astype("datetime64[ns]"))
    assert list(cube.seg4eo.scenes_of()) == ["2021-06-03", "2021-06-13"]
    np.testing.assert_array_equal(cube.seg4eo.composite("median"), seg.composite(cube))


def test_plots_show_the_layer_that_is_asked_for():
    scene, labels = synthetic_sentinel2((96, 96), seed=2)
    sure = labels.where(labels != 255).astype(np.float32) / 6
    prediction = labels.to_dataset(name="classes").assign(confidence=sure)
    assert prediction.seg4eo.plot().get_title() == "classes"
    for drawn in (prediction.seg4eo.plot("confidence"), prediction["confidence"].seg4eo.plot()):
        assert drawn.get_title() == "confidence"
        assert drawn.images[0].get_clim() == (0, 1)
    with pytest.raises(ValueError, match="no layer 'entropy'; its layers are"):
        prediction.seg4eo.plot("entropy")
    assert len(scene.seg4eo.overlay(prediction).images) == 2
    assert len(prediction.seg4eo.compare(labels).axes) == 3
    for page in (
        scene.seg4eo.explore(prediction, tiles=None),
        labels.seg4eo.explore(tiles=None),
        prediction.seg4eo.explore(tiles=None),
    ):
        assert "forest" in page.get_root().render()


def test_an_accessor_shows_its_methods():
    scene, labels = synthetic_sentinel2((64, 64))
    told = repr(scene.seg4eo).splitlines()
    assert told[0].startswith("Methods of a scene (band, y, x)")
    assert "  clip_scene       Crop the scene to polygons, lazily" in told
    assert "  sieve            Clear the map of" in repr(labels.to_dataset(name="classes").seg4eo)


def test_each_array_offers_what_suits_it():
    scene, labels = synthetic_sentinel2((32, 32))
    kinds = {"scene": scene, "labels": labels, "plain": labels.drop_attrs()}
    offered = {
        kind: {name for name in dir(array.seg4eo) if not name.startswith("_")}
        for kind, array in kinds.items()
    }
    assert offered["labels"] == {"class_counts", "explore", "plot"}
    assert offered["plain"] - offered["scene"] == {"class_counts"}
    assert "  predict" not in repr(labels.seg4eo)


def test_labels_are_no_scene(tmp_path):
    scene, labels = synthetic_sentinel2((32, 32))
    model = untrained_checkpoint(scene, labels, patch_size=32)
    for misuse in (
        labels.seg4eo.band_statistics,
        lambda: labels.seg4eo.harmonize(shift=0),
        lambda: labels.seg4eo.extract_patches(labels, tmp_path / "patches.zarr"),
        lambda: labels.seg4eo.predict(model),
        lambda: labels.seg4eo.plan(model),
        lambda: seg.open_scene(labels),
    ):
        with pytest.raises(ValueError, match=r"holds class codes, .* but a scene is wanted"):
            misuse()
    assert list(tmp_path.iterdir()) == []


def test_a_scene_is_no_labels():
    scene, _ = synthetic_sentinel2((32, 32))
    with pytest.raises(ValueError, match=r"labels are \(y, x\), got \('band', 'y', 'x'\)"):
        scene.seg4eo.class_counts()
