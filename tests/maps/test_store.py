from __future__ import annotations

import itertools
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.maps.store import open_map, write_zarr
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.testing import raising_scheduler, synthetic_sentinel2


@pytest.fixture(autouse=True)
def _many_blocks(monkeypatch):
    monkeypatch.setattr("seg4eo_xr.maps.layers.SMALLEST_BLOCK", 1)


def require_same_layer(opened: xr.DataArray, written: xr.DataArray) -> None:
    assert opened.dtype == written.dtype
    np.testing.assert_array_equal(opened.values, written.values)
    for dim in ("y", "x"):
        np.testing.assert_allclose(opened[dim], written[dim], rtol=1e-14)
    assert opened.rio.crs == written.rio.crs
    assert grid_transform(opened, "opened") == grid_transform(written, "written")
    np.testing.assert_equal(opened.rio.nodata, written.attrs.get("_FillValue", np.nan))
    assert opened.attrs == {
        **written.attrs,
        "_FillValue": pytest.approx(opened.rio.nodata, nan_ok=True),
    }


@pytest.mark.parametrize("chunks", [64, (100, 130), ((70, 60, 20), (90, 40)), 1000])
def test_a_map_comes_back_from_zarr_as_it_was(make_map, tmp_path, chunks):
    prediction = make_map(chunks=chunks)
    opened = open_map(write_zarr(prediction, tmp_path / "map.zarr"))
    assert list(opened) == ["classes", "confidence"]
    for name in opened:
        require_same_layer(opened[name], prediction[name])
    assert opened.attrs == prediction.attrs
    assert ClassTable.from_attrs(opened["classes"].attrs) == ClassTable.from_attrs(
        prediction["classes"].attrs
    )


def test_a_map_comes_back_from_cog_as_it_was(make_map, tmp_path):
    prediction = make_map()
    write_cog(prediction, tmp_path / "map.tif", confidence=tmp_path / "confidence.tif")
    for name, file in (("classes", "map.tif"), ("confidence", "confidence.tif")):
        opened = open_map(tmp_path / file)
        assert list(opened) == [name]
        require_same_layer(opened[name], prediction[name])
        assert opened.attrs == prediction.attrs


def test_a_map_may_go_from_zarr_to_cog(make_map, tmp_path):
    prediction = make_map()
    write_cog(open_map(write_zarr(prediction, tmp_path / "map.zarr")), tmp_path / "map.tif")
    require_same_layer(open_map(tmp_path / "map.tif")["classes"], prediction["classes"])


def test_a_single_layer_is_a_map(make_map, tmp_path):
    prediction = make_map()[["classes"]]
    assert list(open_map(write_zarr(prediction, tmp_path / "map.zarr"))) == ["classes"]


def test_layers_with_a_class_dimension_keep_it(make_map, tmp_path):
    prediction = make_map(chunks=(64, 64))
    confidence = prediction["confidence"]
    names = ["water", "forêt"]
    probabilities = xr.concat([confidence, 1 - confidence], "class").assign_coords({"class": names})
    prediction["probabilities"] = probabilities.chunk({"class": 1})
    opened = open_map(write_zarr(prediction, tmp_path / "map.zarr"))
    assert opened["class"].values.tolist() == names
    np.testing.assert_array_equal(opened["probabilities"], probabilities)
    assert opened["probabilities"].chunks[0] == (1, 1)


def test_opening_reads_no_pixel(make_map, tmp_path):
    write_zarr(make_map(), tmp_path / "map.zarr")
    write_cog(make_map(), tmp_path / "map.tif")
    with dask.config.set(scheduler=raising_scheduler):
        assert open_map(tmp_path / "map.zarr")["classes"].chunks
        assert open_map(tmp_path / "map.tif")["classes"].chunks


def test_a_chunk_that_is_not_there_reads_as_nodata(make_map, tmp_path):
    prediction = make_map()
    prediction["classes"] = xr.full_like(prediction["classes"], 255)
    write_zarr(prediction, tmp_path / "map.zarr")
    assert not list((tmp_path / "map.zarr" / "classes").glob("c/**/[0-9]"))
    assert (open_map(tmp_path / "map.zarr")["classes"] == 255).all()


@pytest.mark.parametrize(
    ("blocks", "side"),
    [((1920, 1920, 2112), 1920), ((4096, 100), 2048), ((1700, 801, 9), 2048), ((5000,), 2048)],
)
def test_blocks_fill_whole_chunks_or_are_cut_anew(make_map, tmp_path, blocks, side):
    layer = da.zeros((sum(blocks), 3), chunks=(blocks, 3), dtype=np.uint8)
    prediction = make_map((sum(blocks), 3)).drop_vars("confidence")
    prediction["classes"] = prediction["classes"].copy(data=layer)
    write_zarr(prediction, tmp_path / "map.zarr")
    array = zarr.open_array(tmp_path / "map.zarr" / "classes", mode="r")
    assert array.chunks == (side, 3)
    assert array.fill_value == 255


def test_each_block_of_both_layers_is_computed_once(make_map, tmp_path, count_blocks):
    prediction, evaluations = count_blocks(make_map(chunks=(512, 600), shape=(1100, 600)))
    write_zarr(prediction, tmp_path / "map.zarr")
    assert sorted(evaluations) == [(0, 0), (1, 0), (2, 0)]


def test_an_error_while_computing_leaves_nothing(make_map, tmp_path, break_block):
    with pytest.raises(RuntimeError, match="broken block"):
        write_zarr(break_block(make_map()), tmp_path / "map.zarr")
    assert list(tmp_path.iterdir()) == []


def test_tasks_that_outlive_a_failure_leave_nothing(make_map, tmp_path):
    prediction = make_map(chunks=(8, 8))
    started, outlived = threading.Barrier(2), threading.Event()
    turns = itertools.count()

    def block(values):
        turn = next(turns)
        if turn > 1:
            return values
        started.wait(30)
        if turn == 0:
            raise RuntimeError("broken block")
        time.sleep(0.3)
        outlived.set()
        return values

    layer = prediction["classes"].data.map_blocks(
        block, dtype=np.uint8, meta=np.empty((0, 0), np.uint8)
    )
    prediction["classes"] = prediction["classes"].copy(data=layer)
    with (
        dask.config.set(scheduler="threads", num_workers=2),
        pytest.raises(RuntimeError, match="broken block"),
    ):
        write_zarr(prediction.drop_vars("confidence"), tmp_path / "map.zarr")
    assert outlived.wait(10)
    time.sleep(0.3)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_replaced_on_request_and_other_folders_never(make_map, tmp_path):
    path = tmp_path / "map.zarr"
    write_zarr(make_map(seed=1), path)
    with pytest.raises(FileExistsError, match="overwrite"):
        write_zarr(make_map(seed=2), path)
    second = make_map(seed=2)
    write_zarr(second, path, overwrite=True)
    np.testing.assert_array_equal(open_map(path)["classes"], second["classes"])
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileExistsError, match="no Zarr store"):
        write_zarr(second, tmp_path / "photos", overwrite=True)


def test_what_is_no_map_is_not_opened(make_map, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        open_map(tmp_path / "nothing.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(OSError, match="text"):
        open_map(tmp_path / "text.tif")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="has to be a finished Zarr store"):
        open_map(tmp_path / "folder")
    zarr.create_group(tmp_path / "unfinished.zarr").create_array(
        "classes", shape=(2, 2), dtype="u1", dimension_names=("y", "x")
    )
    with pytest.raises(ValueError, match="has to be a finished Zarr store"):
        open_map(tmp_path / "unfinished.zarr")


@pytest.mark.parametrize("codes", [(111, 312, 523), (-5, 0, 300)])
def test_codes_of_two_bytes_come_back(make_map, tmp_path, codes):
    written = make_map(codes=codes)["classes"]
    opened = open_map(write_zarr(written.to_dataset(), tmp_path / "map.zarr"))["classes"]
    assert (opened.dtype, opened.rio.nodata) == (written.dtype, written.attrs["_FillValue"])
    np.testing.assert_array_equal(opened, written)
    assert ClassTable.from_attrs(opened.attrs).codes == codes


def test_the_classes_of_labels_are_those_of_a_map(tmp_path):
    labels = synthetic_sentinel2((64, 64), seed=2)[1]
    labels.rio.to_raster(tmp_path / "labels.tif")
    opened = open_map(tmp_path / "labels.tif")
    assert ClassTable.from_attrs(opened["labels"].attrs) == ClassTable.from_attrs(labels.attrs)
    assert "flag_values" not in opened.attrs


def test_a_map_whose_batches_were_cut_says_so(make_map, tmp_path, monkeypatch):
    from seg4eo_xr.inference import backoff

    monkeypatch.setattr(backoff, "_fitting", {"abc": 2})
    for token, expected in (("abc", 2), ("other", None)):
        prediction = make_map().assign_attrs(model_token=token)
        write_zarr(prediction, tmp_path / f"{token}.zarr")
        write_cog(prediction[["classes"]], tmp_path / f"{token}.tif")
        for name in (f"{token}.zarr", f"{token}.tif"):
            assert open_map(tmp_path / name).attrs.get("smallest_batch_run") == expected
