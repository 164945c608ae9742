"""What a prediction gives beyond classes: layers, time series, and scenes put together."""

from __future__ import annotations

from dataclasses import replace

import dask
import dask.array as da
import geopandas as gpd
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

import seg4eo_xr as seg
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.models.checkpoint import Checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import plain_contract, raising_scheduler, synthetic_sentinel2
from tests.toys import make_setup

ALL_LAYERS = ("classes", "confidence", "probabilities", "entropy", "margin")
OPTIONS = {"overlap": 16, "precision": "float32", "layers": ("classes", "entropy")}


@pytest.fixture(scope="module")
def scene() -> xr.DataArray:
    made, _ = synthetic_sentinel2((100, 140), seed=3)
    return seg.open_scene(made, bands=["B02", "B03", "B04"]).chunk(y=64, x=100)


@pytest.fixture(scope="module")
def checkpoint(scene) -> Checkpoint:
    table = ClassTable.from_codes((1, 2, 3))
    bands = scene["band"].values.tolist()
    contract = plain_contract(bands, table, bright=0.3, scale=(1e-4,) * 3, maximum=(1.0,) * 3)
    spec = ModelSpec("unet", "resnet18", 3, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_model(spec).state_dict()
    return Checkpoint(weights, spec, contract, 32, "multiclass")


@settings(max_examples=12)
@given(
    shape=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    overlap=st.integers(0, 7),
    classes=st.sampled_from([1, 3]),
    kind=st.sampled_from(["float32", "float16", "uint8"]),
    wanted=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    chunks=st.integers(3, 40),
)
def test_no_layer_depends_on_chunks(shape, overlap, classes, kind, wanted, chunks):
    setup = make_setup(
        shape, (8, 8), (overlap, overlap), classes=classes, missing=0.2, layers=ALL_LAYERS
    )
    setup.encoding = replace(setup.encoding, probability_dtype=kind)
    lazy = predict_chunks(
        da.from_array(setup.scene, chunks=(1, chunks, chunks)), setup.runner(wanted)
    )
    computed = dask.compute(lazy, scheduler="sync")[0]
    for layer, expected in setup.reference().items():
        assert computed[layer].dtype == expected.dtype == setup.encoding.dtype(layer)
        np.testing.assert_array_equal(computed[layer], expected)


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
def test_all_layers_survive_files(scene, checkpoint, tmp_path, kind):
    predicted = seg.predict(
        scene, checkpoint, precision="float32", layers=ALL_LAYERS, probability_dtype=kind
    ).compute()
    stored = seg.open_map(seg.write_zarr(predicted, tmp_path / "map.zarr"))
    others = {name: tmp_path / f"{name}.tif" for name in ALL_LAYERS[1:]}
    seg.write_cog(predicted, tmp_path / "classes.tif", **others)
    for layer in ALL_LAYERS:
        from_cog = seg.open_map(tmp_path / f"{layer}.tif")[layer]
        np.testing.assert_array_equal(stored[layer], predicted[layer])
        np.testing.assert_array_equal(from_cog, predicted[layer])
        assert stored[layer].dtype == predicted[layer].dtype
        assert from_cog.dims == predicted[layer].dims
        scale = predicted[layer].attrs.get("scale_factor")
        assert stored[layer].attrs.get("scale_factor") == scale
        assert from_cog.attrs.get("scale_factor") == scale
    assert from_cog.rio.crs == predicted.rio.crs
    decoded = xr.open_zarr(tmp_path / "map.zarr", consolidated=True)["probabilities"]
    missing = predicted["classes"].values == 255
    assert np.isnan(decoded.values[:, missing]).all()
    np.testing.assert_allclose(decoded.values[:, ~missing].sum(0), 1, atol=0.01)


def test_a_time_series_is_predicted_date_by_date(scene, checkpoint):
    later = scene.copy(data=scene.data[:, ::-1])
    cube = seg.open_cube([scene, later], ["2021-06-03", "2021-06-13"])
    with dask.config.set(scheduler=raising_scheduler):
        maps = seg.predict(cube, checkpoint, **OPTIONS)
    assert maps["classes"].dims == ("time", "y", "x")
    assert maps.rio.crs == scene.rio.crs
    np.testing.assert_array_equal(maps["time"], cube["time"])
    for index, date in enumerate(seg.scenes_of(cube).values()):
        single = seg.predict(date, checkpoint, **OPTIONS)
        for layer in OPTIONS["layers"]:
            np.testing.assert_array_equal(maps[layer][index], single[layer])
            assert maps[layer].attrs == single[layer].attrs


def test_a_series_of_maps_survives_files(scene, checkpoint, tmp_path):
    cube = seg.open_cube([scene, scene + 1], ["2021-06-03", "2021-06-13"])
    maps = seg.predict(cube, checkpoint, precision="float32").compute()
    stored = seg.open_map(seg.write_zarr(maps, tmp_path / "maps.zarr"))
    in_bands = seg.open_map(seg.write_cog(maps, tmp_path / "maps.tif"))
    for opened in (stored, in_bands):
        np.testing.assert_array_equal(opened["classes"], maps["classes"])
        np.testing.assert_array_equal(opened["time"], maps["time"])
        assert ClassTable.from_attrs(opened["classes"].attrs) == checkpoint.contract.classes
    with pytest.raises(ValueError, match="2 dates"):
        seg.map_statistics(stored)


def vrt_over(paths, offsets, shape, scene):
    """A mosaic of GDAL over files that lie side by side."""
    transform = ", ".join(map(str, scene.rio.transform().to_gdal()))
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><NoDataValue>0</NoDataValue>'
        + f"<Description>{name}</Description>"
        + "".join(
            f"<SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{shape[0]}"/>'
            f'<DstRect xOff="{offset}" yOff="0" xSize="{width}" ySize="{shape[0]}"/></SimpleSource>'
            for path, (offset, width) in zip(paths, offsets, strict=True)
        )
        + "</VRTRasterBand>"
        for band, name in enumerate(scene["band"].values, start=1)
    )
    return (
        f'<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}">'
        f"<SRS>{scene.rio.crs.to_wkt()}</SRS><GeoTransform>{transform}</GeoTransform>"
        f"{bands}</VRTDataset>"
    )


def test_borders_of_scenes_leave_no_seam(scene, checkpoint, tmp_path):
    expected = seg.predict(scene, checkpoint, **OPTIONS).compute()
    cut = 61
    halves = [scene[..., :cut], scene[..., cut:]]
    paths = [tmp_path / "west.tif", tmp_path / "east.tif"]
    for half, path in zip(halves, paths, strict=True):
        half.rio.to_raster(path)
    width = scene.sizes["x"]
    text = vrt_over(paths, [(0, cut), (cut, width - cut)], scene.shape[1:], scene)
    (tmp_path / "both.vrt").write_text(text)
    joined = {
        "a VRT": seg.open_scene(tmp_path / "both.vrt"),
        "a mosaic of arrays": seg.open_mosaic(halves),
        "a mosaic of files": seg.open_mosaic(paths),
        "a composite": seg.composite(
            seg.open_cube(halves, ["2021-06-03", "2021-06-13"], like=scene), "first"
        ),
    }
    for what, one in joined.items():
        scaled = one.assign_attrs({k: v for k, v in scene.attrs.items() if "scale" in k})
        result = seg.predict(scaled, checkpoint, **OPTIONS)
        for layer in OPTIONS["layers"]:
            np.testing.assert_array_equal(result[layer], expected[layer], err_msg=what)


def test_an_area_of_interest_limits_map_and_work(scene, checkpoint):
    west, south, east, north = scene.rio.bounds()
    middle = gpd.GeoDataFrame(
        geometry=[box(west + 300, south + 250, east - 400, north - 200)], crs=scene.rio.crs
    )
    clipped = seg.clip_scene(scene, middle)
    result = seg.predict(clipped, checkpoint, **OPTIONS)
    assert result["classes"].shape == clipped.shape[1:] == (55, 70)
    missing = (clipped == 0).any("band").values
    np.testing.assert_array_equal(result["classes"].values == 255, missing)
