"""The client's loop: few tiles at a time, failures set aside, time limits that speak up."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request

import dask
import pytest
from distributed import Client, LocalCluster

from seg4eo_xr.geometry.tiles import Tile
from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.jobs.cluster import _environment, job_cluster, require_same_package
from seg4eo_xr.jobs.tile_loop import run_tiles

TILES = [Tile(row, column) for row in range(5) for column in range(6)]


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_all_tiles_run_once_and_few_at_a_time(client):
    done, taken = {}, []

    def tiles():
        for tile in TILES:
            taken.append(tile)
            assert len(taken) - len(done) <= 4
            yield tile

    failures = run_tiles(
        client, tiles(), lambda tile: tile.row * 10, JobOptions(), on_done=done.__setitem__
    )
    assert failures == {}
    assert done == {tile: tile.row * 10 for tile in TILES}


def test_a_failure_is_tried_again_and_set_aside(client):
    tries, done = [], {}

    def work(tile):
        tries.append(tile)
        if tile == Tile(2, 3) or (tile == Tile(1, 1) and tries.count(tile) < 2):
            raise OSError("unreadable")
        return 0

    with pytest.MonkeyPatch.context() as patch:
        # By reference, so that the list is the one here.
        patch.setattr(test_a_failure_is_tried_again_and_set_aside, "work", work, raising=False)
        failures = run_tiles(
            client, TILES, _looked_up, JobOptions(retries=2), on_done=done.__setitem__
        )
    assert list(failures) == [Tile(2, 3)]
    assert str(failures[Tile(2, 3)]) == "unreadable"
    assert (tries.count(Tile(2, 3)), tries.count(Tile(1, 1))) == (3, 2)
    assert set(done) == set(TILES) - {Tile(2, 3)}


def _looked_up(tile):
    return test_a_failure_is_tried_again_and_set_aside.work(tile)


def test_a_client_that_is_closed_is_what_the_error_says():
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        client = Client(cluster, set_as_default=False)
        with pytest.raises(ConnectionError, match="dask client was closed while the job ran"):
            run_tiles(
                client,
                TILES,
                lambda tile: tile.row,
                JobOptions(),
                on_done=lambda *_: client.close(),
            )


def test_a_cluster_that_adapts_starts_its_workers_for_a_job():
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster:
        cluster.adapt(minimum=0, maximum=1)
        options = JobOptions(scheduler=cluster.scheduler_address, no_workers_timeout=20)
        with job_cluster(options, gpus=0) as job:
            assert len(job.client.nthreads()) == 1


_release = threading.Event()


def _waits(tile):
    _release.wait(60)


def test_a_stall_names_what_is_under_way(client):
    _release.clear()
    options = JobOptions(stall_timeout=0.5)
    try:
        with pytest.raises(TimeoutError, match=r"no tile was finished for 0\.5 s.*inproc.*tile-"):
            run_tiles(client, TILES[:1], _waits, options, on_done=lambda *_: None)
    finally:
        _release.set()


def test_a_cluster_without_workers_is_named():
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as empty,
    ):
        options = JobOptions(no_workers_timeout=0.3, scheduler=cluster.scheduler_address)
        with (
            pytest.raises(TimeoutError, match=r"has no worker after 0\.3 s"),
            job_cluster(options, gpus=0),
        ):
            pass
        with pytest.raises(TimeoutError, match="no worker has been connected"):
            run_tiles(empty, TILES, len, options, on_done=lambda *_: None)


@pytest.mark.parametrize("workers", [None, 1])
def test_the_dashboard_answers_where_it_is_said_to_be(workers):
    with (
        job_cluster(JobOptions(workers=workers), gpus=0) as cluster,
        urllib.request.urlopen(cluster.client.dashboard_link, timeout=30) as page,
    ):
        assert page.status == 200


@pytest.mark.parametrize("workers", [None, 1])
def test_no_profiler_looks_at_threads_that_it_might_stop(workers):
    with (
        dask.config.set({"distributed.worker.profile.enabled": True}),
        job_cluster(JobOptions(workers=workers), gpus=0) as cluster,
    ):
        assert list(cluster.client.run(_is_profiled).values()) == [False]


def _is_profiled(dask_worker):
    return "profile" in dask_worker.periodic_callbacks


def test_an_interrupt_is_left_to_the_process_that_started_the_job():
    with job_cluster(JobOptions(workers=1), gpus=0) as cluster:
        (process,) = cluster.client.run(os.getpid).values()
        os.kill(process, signal.SIGINT)  # as a terminal does
        assert cluster.client.submit(os.getpid, pure=False).result(timeout=60) == process


def test_workers_of_another_version_are_named(client, monkeypatch):
    require_same_package(client)
    theirs = {"tcp://a:1": {"seg4eo_xr": "0.0.1", "torch": None}}
    monkeypatch.setattr(client, "run", lambda _: theirs)
    with pytest.raises(ImportError, match=r"worker tcp://a:1 has seg4eo_xr 0\.0\.1, torch not"):
        require_same_package(client)
    monkeypatch.setattr(client, "run", lambda _: {})
    monkeypatch.setattr(client, "run_on_scheduler", lambda _: theirs["tcp://a:1"])
    with pytest.raises(ImportError, match=r"the scheduler has seg4eo_xr 0\.0\.1"):
        require_same_package(client)


def test_gpus_are_dealt_out_in_turn(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _environment(1, 0) == {}
    assert [_environment(n, 2)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _environment(1, 2) == {"CUDA_VISIBLE_DEVICES": "7"}
