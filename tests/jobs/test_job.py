"""Laws of jobs: the bits of the lazy way, whatever the tiles and the workers; nothing by halves."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import dask
import numpy as np
import pytest
import rasterio
import torch
from distributed import Client, LocalCluster
from toy_jobs import (
    OPTIONS,
    digest,
    failing_scene,
    make_files,
    run_job,
    toy_checkpoint,
    toy_scene,
)

import seg4eo_xr as seg
from seg4eo_xr.geometry.tiles import Tile
from seg4eo_xr.jobs.markers import read_marker
from seg4eo_xr.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    import xarray as xr

pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def lazy():
    return seg.predict(toy_scene(), toy_checkpoint(), overlap=8).compute()


@pytest.fixture(scope="module")
def finished(folder):
    return run_job(folder, folder / "finished.zarr")


def require_same(result: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(result) == set(expected)
    for name in expected:
        assert result[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(result[name], expected[name], err_msg=str(name))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile_size": 48},
        {"tile_size": 10_000, "windows_per_chunk": None},
        {"windows_per_chunk": 3, "batch_size": 1},
    ],
)
def test_a_job_has_the_bits_of_the_lazy_way(options, lazy, tmp_path):
    result = seg.predict_to_zarr(
        toy_scene(), toy_checkpoint(), tmp_path / "map.zarr", **OPTIONS | options
    )
    opened = result.open()
    require_same(opened, lazy)
    assert opened.rio.crs == lazy.rio.crs
    assert opened.rio.transform() == lazy.rio.transform()
    assert {key: opened.attrs[key] for key in lazy.attrs} == lazy.attrs
    for name in lazy:
        assert opened[name].attrs.items() >= lazy[name].attrs.items()
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.zarr"]


def test_the_accessor_and_all_layers(tmp_path):
    layers = ("probabilities", "classes", "margin", "entropy")
    scene, options = toy_scene(), {"layers": layers, "probability_dtype": "uint8", "overlap": 8}
    result = scene.seg4eo.predict_to_zarr(
        toy_checkpoint(), tmp_path / "map.zarr", **OPTIONS | options
    )
    require_same(result.open(), seg.predict(scene, toy_checkpoint(), **options).compute())


def test_workers_of_a_cluster_give_the_same_bytes(folder, finished, tmp_path):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        with_client = run_job(folder, tmp_path / "client.zarr")
        assert client.run(lambda: 1)  # still open
    assert digest(with_client.path) == digest(finished.path)


def test_an_address_and_own_processes_give_the_same_bytes(folder, finished, tmp_path):
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        there = run_job(folder, tmp_path / "address.zarr", scheduler=cluster.scheduler_address)
    assert digest(there.path) == digest(finished.path)


@pytest.mark.parametrize("workers", [None, 1])
def test_what_workers_warn_of_is_warned_of_here(workers, tmp_path):
    faint = toy_scene() // 500
    with pytest.warns(seg.ContractWarning, match="never saw") as told:
        seg.predict_to_zarr(
            faint.assign_attrs(toy_scene().attrs),
            toy_checkpoint(),
            tmp_path / "map.zarr",
            workers=workers,
            progress=False,
            **OPTIONS,
        )
    texts = [str(one.message) for one in told if one.category is seg.ContractWarning]
    assert len(texts) == 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_processes_gives_the_same_bytes(workers, folder, finished, tmp_path):
    result = run_job(folder, tmp_path / "map.zarr", workers=workers)
    assert digest(result.path) == digest(finished.path)


def test_statistics_are_those_of_the_map(finished):
    assert finished.statistics.to_dict() == seg.map_statistics(finished.path).to_dict()
    stored = json.loads(finished.open().attrs["statistics"])
    assert seg.MapStatistics.from_dict(stored) == finished.statistics


def test_a_cog_is_that_of_the_lazy_map(folder, tmp_path):
    result = run_job(folder, tmp_path / "map.tif")
    lazy = seg.predict(folder / "scene.tif", folder / "model.pth", overlap=8)
    seg.write_cog(lazy, tmp_path / "lazy.tif", confidence=tmp_path / "sure.tif")
    assert [file.name for file in result.files] == ["map.tif", "map_confidence.tif"]
    for ours, theirs in (("map.tif", "lazy.tif"), ("map_confidence.tif", "sure.tif")):
        with rasterio.open(tmp_path / ours) as a, rasterio.open(tmp_path / theirs) as b:
            np.testing.assert_array_equal(a.read(), b.read())
            assert str(a.profile) == str(b.profile)  # nodata may be NaN
            assert a.tags().items() >= b.tags().items()
    assert not (tmp_path / "map.tif.run").exists()


def test_what_exists_is_refused_before_anything_runs(folder, tmp_path):
    (tmp_path / "map.zarr").mkdir()
    (tmp_path / "map.zarr" / "mine").touch()
    with pytest.raises(FileExistsError, match="overwrite"):
        run_job(folder, tmp_path / "map.zarr")
    with pytest.raises(FileExistsError, match="no Zarr store"):
        run_job(folder, tmp_path / "map.zarr", overwrite=True)
    (tmp_path / "map_confidence.tif").touch()
    with pytest.raises(FileExistsError, match="map_confidence"):
        run_job(folder, tmp_path / "map.tif")
    with pytest.raises(FileNotFoundError, match="folder that exists"):
        run_job(folder, tmp_path / "none" / "map.zarr")
    with pytest.raises(ValueError, match=r"must end in \.zarr"):
        run_job(folder, tmp_path / "map.png")
    assert {entry.name for entry in tmp_path.iterdir()} == {"map.zarr", "map_confidence.tif"}


def test_a_map_is_replaced_on_request(folder, finished, tmp_path):
    for seed in (1, 2):
        result = seg.predict_to_zarr(
            toy_scene(), toy_checkpoint(seed=seed), tmp_path / "map.zarr", overwrite=True, **OPTIONS
        )
    expected = seg.predict(toy_scene(), toy_checkpoint(seed=2), overlap=8).compute()
    require_same(result.open(), expected)


def test_bad_input_leaves_nothing(folder, tmp_path):
    for options, message in (
        ({"overlap": 32}, "overlap must lie in"),
        ({"tile_size": 0}, "tile_size must be at least 1"),
        ({"workers": 2, "scheduler": "tcp://a:1"}, "give one of them"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "no dask scheduler at"),
    ):
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
            pytest.raises((ValueError, OSError), match=message),
        ):
            run_job(folder, tmp_path / "map.zarr", **options)
    with pytest.raises(TypeError, match="did you mean 'overlap'"):
        run_job(folder, tmp_path / "map.zarr", ovrelap=3)
    scene = toy_scene().isel(band=[0, 1])
    with pytest.raises(ValueError, match="B04"):
        seg.predict_to_zarr(scene, toy_checkpoint(), tmp_path / "map.zarr")
    assert list(tmp_path.iterdir()) == []


class Broken(torch.nn.Module):
    """Answers with NaN, or with too few pixels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        answer = torch.full((len(batch), 3, *batch.shape[2:]), torch.nan)
        return answer if self.how == "nan" else answer[..., :-1].nan_to_num()


@pytest.mark.parametrize(("how", "message"), [("nan", "NaN"), ("shape", "every pixel")])
def test_a_model_that_answers_nonsense_is_named(how, message, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "build", lambda _: Broken(how))
    with pytest.raises(seg.JobFailedError, match=message):
        seg.predict_to_zarr(
            toy_scene(), toy_checkpoint(), tmp_path / "map.zarr", retries=0, **OPTIONS
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("unreadable"), MemoryError("too large")])
def test_a_tile_that_fails_is_set_aside_and_listed(error, tmp_path, lazy):
    output = tmp_path / "map.zarr"
    with pytest.raises(seg.JobFailedError, match=str(error)) as caught:
        seg.predict_to_zarr(failing_scene(error), toy_checkpoint(), output, **OPTIONS)
    assert list(caught.value.failures) == [Tile(1, 1)], str(caught.value)
    assert "1 of 4 tiles failed" in str(caught.value)
    assert "3 of 4 tiles are finished and kept" in caught.value.__notes__[0]
    assert not output.exists()
    with pytest.raises(ValueError, match="no map"):
        seg.open_map(next((tmp_path / "map.zarr.run").glob("*/map.zarr")))


def test_a_scene_that_changes_while_it_is_mapped_makes_no_map(tmp_path, monkeypatch):
    toy_scene().rio.to_raster(tmp_path / "scene.tif")
    output = tmp_path / "map.tif"

    (toy_scene() + 1).rio.to_raster(tmp_path / "other.tif")

    def read_and_change(folder, tile):
        if tile == Tile(1, 1):
            (tmp_path / "other.tif").replace(tmp_path / "scene.tif")
        return read_marker(folder, tile)

    monkeypatch.setattr("seg4eo_xr.jobs.tile_work.read_marker", read_and_change)
    with pytest.raises(seg.JobFailedError, match=r"scene.tif' has changed since it was opened"):
        seg.predict_to_zarr(tmp_path / "scene.tif", toy_checkpoint(), output, retries=0, **OPTIONS)
    assert not output.exists()


def test_a_job_gives_up_when_many_tiles_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "build", lambda _: Broken("nan"))
    with pytest.raises(seg.JobFailedError, match="were not tried") as caught:
        seg.predict_to_zarr(
            toy_scene(),
            toy_checkpoint(),
            tmp_path / "map.zarr",
            retries=0,
            max_failures=2,
            **OPTIONS | {"tile_size": 48},
        )
    assert 2 <= len(caught.value.failures) < 8


def test_the_log_names_final_paths(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="seg4eo_xr"):
        run_job(folder, tmp_path / "logged.tif")
    for name in ("logged.tif", "logged_confidence.tif"):
        assert caplog.text.count(f"wrote {tmp_path / name}\n") == 1
    assert ".run" not in caplog.text


def test_the_dashboard_is_told(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="seg4eo_xr.jobs.order"):
        run_job(folder, tmp_path / "map.zarr")
    assert "dashboard of dask: http://" in caplog.text
