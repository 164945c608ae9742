import time
import warnings

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from distributed import Client, LocalCluster

import seg4eo_xr as seg
from seg4eo_xr.inference.hardware import Hardware
from seg4eo_xr.models.checkpoint import Checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.conform import ContractWarning
from seg4eo_xr.testing import (
    plain_contract,
    raising_scheduler,
    synthetic_sentinel2,
    untrained_checkpoint,
)


@pytest.fixture(scope="module")
def scene() -> xr.DataArray:
    return synthetic_sentinel2((150, 170), seed=3)[0].isel(band=[0, 1, 2]).chunk(y=64, x=100)


def make_checkpoint(scene: xr.DataArray, codes=(1, 2, 3), *, binary: bool = False) -> Checkpoint:
    bands = tuple(scene["band"].values.tolist())
    count = len(bands)
    table = ClassTable.from_codes(codes, [f"kind {code}" for code in codes])
    contract = plain_contract(
        bands, table, bright=0.3, scale=(1e-4,) * count, maximum=(1.0,) * count
    )
    spec = ModelSpec("unet", "resnet18", count, 1 if binary else len(codes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_model(spec).state_dict()
    return Checkpoint(weights, spec, contract, 64, "binary" if binary else "multiclass")


@pytest.fixture(scope="module")
def checkpoint(scene) -> Checkpoint:
    return make_checkpoint(scene)


@pytest.mark.parametrize(
    ("encoder", "side"),
    [
        pytest.param("tu-coat_tiny", 224, marks=pytest.mark.slow),
        ("tu-swin_tiny_patch4_window7_224", 224),
        pytest.param("tu-swinv2_tiny_window8_256", 256, marks=pytest.mark.slow),
        pytest.param("tu-maxvit_tiny_tf_224", 224, marks=pytest.mark.slow),
        pytest.param("tu-mvitv2_tiny", 224, marks=pytest.mark.slow),
    ],
)
def test_an_encoder_of_one_image_size_maps_windows_of_that_size_alone(encoder, side, scene):
    spec = ModelSpec("unet", encoder, 3, 3)
    plain = make_checkpoint(scene)
    weights = build_model(spec).state_dict()
    model = Checkpoint(weights, spec, plain.contract, side, "multiclass")
    with dask.config.set(scheduler=raising_scheduler):
        assert seg.predict(scene, model).attrs["window"] == side
        with pytest.raises(ValueError, match=rf"windows of 480 px: .*; take .*{side}.*patch_size"):
            seg.predict(scene, model, patch_size=480)
    assert (seg.predict(scene, model)["confidence"].compute().max() <= 1).item()


def test_a_threshold_is_for_networks_with_one_output(scene, checkpoint):
    with pytest.raises(ValueError, match=r"threshold 0.3 is for .* 3 classes.*--threshold"):
        seg.predict(scene, checkpoint, threshold=0.3)
    binary = make_checkpoint(scene, codes=(0, 1), binary=True)
    assert seg.predict(scene, binary, threshold=0.3).attrs["threshold"] == 0.3


def test_a_map_lies_on_the_scenes_grid_and_names_its_classes(scene, checkpoint):
    result = scene.seg4eo.predict(checkpoint)
    assert result["classes"].dtype == np.uint8
    assert result["confidence"].dtype == np.float32
    assert result.rio.crs == scene.rio.crs
    assert result.rio.transform() == scene.rio.transform()
    assert result["classes"].rio.nodata == 255
    assert ClassTable.from_attrs(result["classes"].attrs) == checkpoint.contract.classes
    xr.testing.assert_equal(result["x"], scene["x"])


def test_nodata_in_is_nodata_out_and_codes_are_those_of_the_labels(scene, checkpoint):
    result = scene.seg4eo.predict(
        checkpoint, layers=("classes", "confidence", "probabilities")
    ).compute()
    missing = (scene == 0).any("band").values
    assert missing.any()
    assert not missing.all()
    assert (result["classes"].values[missing] == 255).all()
    assert np.isnan(result["confidence"].values[missing]).all()
    assert set(np.unique(result["classes"].values[~missing])) <= {1, 2, 3}
    probabilities = result["probabilities"].transpose("class", "y", "x").values[:, ~missing]
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.max(0), result["confidence"].values[~missing])


@pytest.mark.parametrize(
    ("codes", "dtype", "nodata"),
    [((111, 312, 523), np.uint16, 65535), ((-1, 0, 300), np.int16, -32768)],
)
def test_codes_beyond_a_byte_are_those_of_the_labels(scene, checkpoint, codes, dtype, nodata):
    plain = scene.seg4eo.predict(checkpoint)["classes"].values
    wide = scene.seg4eo.predict(make_checkpoint(scene, codes))["classes"]
    assert (wide.dtype, wide.rio.nodata) == (dtype, nodata)
    expected = np.select([plain == code for code in (1, 2, 3)], codes, nodata)
    np.testing.assert_array_equal(wide, expected)


def test_nothing_runs_before_it_is_asked_for(scene, checkpoint):
    with dask.config.set(scheduler=raising_scheduler):
        scene.seg4eo.predict(checkpoint)


def test_path_and_checkpoint_and_band_order_give_the_same_bits(scene, checkpoint, tmp_path):
    path = save_checkpoint(checkpoint, tmp_path / "model.pth")
    expected = seg.predict(scene, checkpoint).compute()
    xr.testing.assert_identical(seg.predict(scene, path).compute(), expected)
    mixed = scene.isel(band=[2, 0, 1])
    xr.testing.assert_identical(seg.predict(mixed, path).compute(), expected)


def test_scaling_of_the_scene_does_not_matter(scene, checkpoint):
    reflectance = (scene * 1e-4).where(scene != 0)
    reflectance.attrs = {"_FillValue": np.nan}
    expected = seg.predict(scene, checkpoint)["confidence"].compute()
    result = seg.predict(reflectance, checkpoint)["confidence"].compute()
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_binary_model_follows_its_threshold(scene):
    checkpoint = make_checkpoint(scene, (0, 7), binary=True)
    result = seg.predict(
        scene, checkpoint, layers=("classes", "confidence", "probabilities"), threshold=0.3
    ).compute()
    valid = result["classes"].values != 255
    second = result["probabilities"].sel({"class": "kind 7"}).values
    np.testing.assert_array_equal(
        result["classes"].values[valid], np.where(second[valid] >= 0.3, 7, 0)
    )
    np.testing.assert_array_equal(
        result["confidence"].values[valid],
        np.where(second >= 0.3, second, 1 - second)[valid],
    )


@pytest.mark.parametrize(
    ("way", "recorded"),
    [
        ({"precision": "float32"}, {"precision": "float32", "compiled": 0, "tta": 0}),
        ({"precision": "float32", "tta": True}, {"precision": "float32", "tta": 1}),
        ({"device": "cpu", "batch_size": 3}, {"device": "cpu", "batch_size": 3}),
    ],
)
def test_a_map_says_how_it_was_made(scene, checkpoint, way, recorded):
    attrs = scene.seg4eo.predict(checkpoint, **way).attrs
    assert recorded.items() <= attrs.items()


@pytest.mark.parametrize(("formats", "precision"), [((), "float32"), (("bfloat16",), "bfloat16")])
def test_auto_is_settled_when_the_prediction_is_built(
    scene, checkpoint, monkeypatch, formats, precision
):
    hardware = Hardware("cpu", formats, compiler=False)
    monkeypatch.setattr("seg4eo_xr.inference.predict.common_hardware", lambda device: hardware)
    automatic, chosen = (
        seg.predict(scene, checkpoint, precision=choice).isel(y=slice(80), x=slice(80))
        for choice in ("auto", precision)
    )
    assert automatic.attrs["precision"] == precision
    xr.testing.assert_identical(automatic.compute(), chosen.compute())


def test_compiling_without_a_compiler_is_a_warning_and_recorded(scene, checkpoint, monkeypatch):
    hardware = Hardware("cpu", ("bfloat16",), compiler=False)
    monkeypatch.setattr("seg4eo_xr.inference.predict.common_hardware", lambda device: hardware)
    with pytest.warns(seg.CompileWarning, match="no compiler"):
        assert seg.predict(scene, checkpoint, compile=True).attrs["compiled"] == 0


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (64, 64), (65, 63)])
def test_scenes_smaller_than_a_window_are_padded(scene, checkpoint, size):
    tiny = scene.isel(y=slice(80, 80 + size[0]), x=slice(80, 80 + size[1]))
    result = seg.predict(tiny, checkpoint)["classes"].compute()
    assert result.shape == size


def test_a_missing_band_is_named(scene, checkpoint):
    with pytest.raises(ValueError, match=r"needs the 3 bands .* \['B04'\] are missing"):
        seg.predict(scene.isel(band=[0, 1]), checkpoint)


def test_another_pixel_size_is_a_warning(scene, checkpoint):
    coarse = scene.assign_coords(x=scene["x"] * 2, y=scene["y"] * 2).drop_vars("spatial_ref")
    coarse = coarse.rio.write_crs(scene.rio.crs)
    with pytest.warns(ContractWarning, match=r"19.99 × 19.99 m.*10 × 10 m"):
        seg.predict(coarse, checkpoint)


def test_numbers_of_another_size_are_a_warning(scene, checkpoint):
    faint = (scene // 1000).clip(max=5).where(scene == 0, 3).astype(np.uint16)
    faint.attrs = scene.attrs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seg.predict(faint, checkpoint)["classes"].compute(scheduler="sync")
    assert [w.category for w in caught] == [ContractWarning]  # of several chunks


@pytest.mark.parametrize("tags", [True, False])
def test_sentinel_2s_offset_is_a_warning_once_per_prediction(tags):
    scene, labels = synthetic_sentinel2((150, 170), seed=3)
    if not tags:
        scene.attrs = {key: scene.attrs[key] for key in ("long_name", "_FillValue")}
    model = untrained_checkpoint(scene, labels)
    raised = scene.copy(data=np.where(scene == 0, 0, scene.values + 1000).astype(np.uint16))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scene.chunk(y=64, x=64).seg4eo.predict(model).compute()
    assert not caught
    with pytest.warns(ContractWarning, match="seem raised by 1000.*--harmonize 1000") as caught:
        raised.chunk(y=64, x=64).seg4eo.predict(model).compute()
    assert len(caught) == 1


@pytest.mark.parametrize("processes", [True, False])
def test_what_a_clusters_workers_warn_of_reaches_the_user_once(processes, scene, checkpoint):
    faint = xr.full_like(scene, 3).chunk(y=64, x=64)
    with (
        LocalCluster(n_workers=1, processes=processes, dashboard_address=":0") as cluster,
        Client(cluster),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.filterwarnings("ignore", "Sending large graph")
        warnings.simplefilter("always", ContractWarning)
        seg.predict(faint, checkpoint, layers=("classes",)).compute()
        deadline = time.monotonic() + 20
        while not caught and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # for a second one
    told = [str(one.message) for one in caught if one.category is ContractWarning]
    assert len(told) == 1
    assert "never saw" in told[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 64}, "overlap must lie in 0..63"),
        ({"output_nodata": 2}, "is the code of a class"),
        ({"output_nodata": 70000}, "no type of 16 bits holds"),
        ({"patch_size": 0}, "patch_size must be at least 1"),
        ({"device": "tpu"}, "device must be one of"),
        ({"blending": "box"}, "blending must be one of hann"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_runs(
    scene, checkpoint, options, message
):
    with (
        dask.config.set(scheduler=raising_scheduler),
        pytest.raises(ValueError, match=message),
    ):
        seg.predict(scene, checkpoint, **options)


def test_an_unknown_option_is_refused(scene, checkpoint):
    with pytest.raises(TypeError, match="overlapp"):
        seg.predict(scene, checkpoint, overlapp=3)


def test_windows_of_any_size_run(scene, checkpoint):
    result = scene.seg4eo.predict(checkpoint, patch_size=50).compute()
    missing = (scene == 0).any("band").values
    assert (np.isnan(result["confidence"].values) == missing).all()


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> seg.Checkpoint:
    """Weights of the old tool's kind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_model(ModelSpec("unet", "resnet18", 3, 4))
    path = tmp_path_factory.mktemp("old") / "model_best_iou.pth"
    torch.save({"model_state_dict": network.state_dict(), "val_iou": np.float64(0.5)}, path)
    return seg.load_checkpoint(path, training_patch_size=64)


@pytest.mark.filterwarnings("ignore::seg4eo_xr.scenes.conform.ContractWarning")
def test_an_old_checkpoint_sees_each_window_divided_by_its_own_percentile(old):
    scene = synthetic_sentinel2((64, 64), seed=3, nodata_wedge=False)[0].isel(band=[0, 1, 2])
    result = scene.seg4eo.predict(
        old,
        layers=("probabilities",),
        overlap=0,
        batch_size=1,
        device="cpu",
        precision="float32",
    )
    image = scene.values.astype(np.float32)
    upper = np.percentile(image, 99)
    with torch.inference_mode():
        logits = old.build()(torch.from_numpy(np.clip(image / upper, 0, 1))[None])
    expected = logits.softmax(1)[0].numpy()
    np.testing.assert_allclose(result["probabilities"].values, expected, atol=1e-4)


def test_an_old_checkpoint_says_which_bands_it_takes(old):
    scene = synthetic_sentinel2((64, 64), seed=3)[0].isel(band=[3, 4, 5])
    with pytest.warns(ContractWarning, match="in their order, B05, B06, B07"):
        scene.seg4eo.predict(old)


@pytest.mark.filterwarnings("ignore::seg4eo_xr.scenes.conform.ContractWarning")
def test_an_old_checkpoints_map_does_not_depend_on_chunking(old, scene):
    one, other = (
        scene.seg4eo.predict(old, windows_per_chunk=count, device="cpu").compute()
        for count in (1, 4)
    )
    xr.testing.assert_identical(one, other)
