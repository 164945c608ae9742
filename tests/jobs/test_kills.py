"""Laws of killed jobs: what is not finished looks like nothing, and what goes on ends the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, WorkerPlugin
from toy_jobs import OPTIONS, digest, make_files, run_job, toy_checkpoint, toy_scene
from toy_kills import (
    SMALL,
    TILES,
    job_to_kill,
    kill_job,
    markers,
    require_resumed,
    require_true_markers,
    wait_for,
)

import seg4eo_xr as seg
from seg4eo_xr.geometry.tiles import Tile
from seg4eo_xr.jobs import tile_work

pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]


def of_killed_workers(test):
    """Connections of a killed process are closed by nobody."""
    for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{warning}")(test)
    return test


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_files(tmp_path_factory.mktemp("job"))
    run_job(folder, folder / "finished.zarr", **SMALL)
    run_job(folder, folder / "finished.tif", **SMALL)
    return folder


@pytest.mark.parametrize("point", [{"tiles": 5}, {"halt": "before the metadata"}])
def test_a_killed_job_goes_on_where_it_was(point, folder, tmp_path, monkeypatch):
    output = tmp_path / "map.zarr"
    kill_job(folder, output, **point)
    assert not output.exists()
    require_true_markers(folder, output)
    before = {marker.name for marker in markers(output)}
    (run,) = (entry for entry in Path(f"{output}.run").iterdir() if entry.is_dir())
    (run / "map.zarr" / "classes" / "0.0123abcd.partial").touch()  # as a kill may leave it
    written = []
    write = tile_work.write_marker

    def noted(where, tile, record):
        written.append(f"{tile.row}.{tile.column}")
        write(where, tile, record)

    monkeypatch.setattr(tile_work, "write_marker", noted)
    require_resumed(folder, output)
    assert not set(written) & before
    assert len(written) + len(before) == TILES


@pytest.mark.parametrize(
    "halt", ["before the output", "before the cog is verified", "between the outputs"]
)
def test_a_job_killed_while_its_cog_is_made_has_none(halt, folder, tmp_path):
    output = tmp_path / "map.tif"
    kill_job(folder, output, halt=halt, slowly=False)
    assert not output.exists()
    require_resumed(folder, output)
    names = {"map.tif", "map.tif.aux.xml", "map_confidence.tif"}
    assert {entry.name for entry in tmp_path.iterdir()} == names


@pytest.mark.parametrize("name", ["map.zarr", "map.tif"])
def test_a_job_killed_at_its_very_end_is_done(name, folder, tmp_path, monkeypatch):
    output = tmp_path / name
    kill_job(folder, output, halt="before the end", slowly=False)
    assert output.exists()
    monkeypatch.setattr("seg4eo_xr.jobs.order.run_tiles", None)  # which nobody calls
    require_resumed(folder, output)


def test_jobs_side_by_side_on_one_cluster_keep_to_their_own_maps(folder, tmp_path):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        contextlib.ExitStack() as stack,
    ):
        more = {"scheduler": cluster.scheduler_address}
        outputs = [tmp_path / name for name in ("one.zarr", "two.zarr", "three.tif")]
        jobs = [stack.enter_context(job_to_kill(folder, output, **more)) for output in outputs]
        for job in jobs:
            job.join()
        assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert digest(outputs[0]) == digest(outputs[1]) == digest(folder / "finished.zarr")
    assert digest(outputs[2]) == digest(folder / "finished.tif")


def kills_while_the_cog_is_made(folder, tmp_path, count):
    """Kill a job again and again at random moments of its last step."""
    rng = np.random.default_rng(count)
    stopped, place = tmp_path / "stopped", tmp_path / "place"
    stopped.mkdir()
    kill_job(folder, stopped / "map.tif", halt="before the output", slowly=False)
    output = place / "map.tif"
    shutil.copytree(stopped, place)
    begin = time.monotonic()
    with job_to_kill(folder, output, "at the output", slowly=False, resume=True) as child:
        wait_for(child, (folder / "reached").exists)
        begin = time.monotonic()
        child.join()
    span = time.monotonic() - begin
    ends = {"nothing": 0, "a part": 0, "all": 0}
    for _ in range(count):
        if output.exists():
            shutil.rmtree(place)
            shutil.copytree(stopped, place)
        with job_to_kill(folder, output, "at the output", slowly=False, resume=True) as child:
            wait_for(child, (folder / "reached").exists)
            time.sleep(rng.uniform(0, span))
        found = [file.name for file in place.glob("*.tif")]
        for name in found:
            assert digest(place / name) == digest(folder / name.replace("map", "finished"))
        ends[("nothing", "a part", "all")[len(found)]] += 1
        assert ends["all"] or not output.exists()
    require_resumed(folder, output)
    return ends


def test_a_cog_is_there_wholly_or_not_at_all(folder, tmp_path):
    assert sum(kills_while_the_cog_is_made(folder, tmp_path, 4).values()) == 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_kills_while_the_cog_is_made(folder, tmp_path):
    ends = kills_while_the_cog_is_made(folder, tmp_path, 40)
    print(f"40 kills while the COG was written left {ends}")
    assert ends["nothing"] > 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_kills_at_random_moments(folder, tmp_path):
    rng = np.random.default_rng(0)
    kept = []
    for number in range(25):
        output = tmp_path / f"map{number}.zarr"
        options = {"workers": 2} if number % 5 == 0 else {}
        for count in sorted(rng.integers(0, TILES - 2, 2)):
            after = rng.uniform(0, 0.2)
            kill_job(folder, output, tiles=int(count), after=after, resume=True, **options)
            if output.exists():  # it was as good as done
                break
            if Path(f"{output}.run").exists():
                require_true_markers(folder, output)
            kept.append(len(markers(output)))
        require_resumed(folder, output)
    assert len(kept) > 40
    print(f"{len(kept)} kills; {sum(kept)} tiles were kept, on average {np.mean(kept):.1f}")


def slow_down(seconds):
    """Let each tile of a worker take its time."""
    from seg4eo_xr.jobs import tile_work

    def slowly(*arguments, write=tile_work.write_marker):
        time.sleep(seconds)
        write(*arguments)

    tile_work.write_marker = slowly


@contextlib.contextmanager
def two_workers(seconds):
    """A cluster of two processes that are replaced when they are killed, and its client."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(SlowTiles(seconds))
        yield client


class SlowTiles(WorkerPlugin):
    """Slows workers down, those too that join later."""

    def __init__(self, seconds):
        self.seconds = seconds

    def setup(self, worker):
        slow_down(self.seconds)


@contextlib.contextmanager
def killing(client, moments):
    """Kill one of the workers at each moment; dask does not replace those that just begin."""
    ended, killed = threading.Event(), []

    def kill():
        settled = set(client.run(os.getpid).values())
        for moment in moments:
            if not moment(ended):
                break
            alive = set(client.run(os.getpid).values())
            for victim in sorted(alive & settled)[:1]:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            settled = alive

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        ended.set()
        killer.join()


@of_killed_workers
def test_a_worker_that_is_killed_costs_no_byte(folder, tmp_path):
    output = tmp_path / "map.zarr"

    def some_tiles(ended):
        while len(markers(output)) < 4 and not ended.wait(0.01):
            pass
        return not ended.is_set()

    with two_workers(0.1) as client, killing(client, [some_tiles]) as killed:
        run_job(folder, output, **SMALL)
    assert len(killed) == 1
    assert digest(output) == digest(folder / "finished.zarr")


@pytest.mark.slow
@of_killed_workers
def test_a_worker_killed_every_five_seconds_costs_no_byte(folder, tmp_path):
    output = tmp_path / "map.zarr"
    every = [lambda ended: not ended.wait(5)] * 1000
    with two_workers(4.0) as client, killing(client, every) as killed:
        run_job(folder, output, retries=10, **SMALL)
    print(f"{len(killed)} workers were killed, one every 5 s")
    assert len(killed) > 2
    assert digest(output) == digest(folder / "finished.zarr")


def deadly_scene():
    """A scene that kills whoever reads its pixel (200, 160)."""

    def block(values, block_info=None):
        location = block_info[0]["array-location"]
        if location[1][0] <= 200 < location[1][1] and location[2][0] <= 160 < location[2][1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return values

    scene = toy_scene().chunk(y=20, x=20)
    return scene.copy(data=da.map_blocks(block, scene.data, dtype=scene.dtype, name="deadly"))


@pytest.mark.slow
@of_killed_workers
def test_a_tile_that_kills_its_worker_is_set_aside(tmp_path):
    with pytest.raises(seg.JobFailedError, match="KilledWorker") as caught:
        seg.predict_to_zarr(
            deadly_scene(), toy_checkpoint(), tmp_path / "map.zarr", workers=2, retries=1, **OPTIONS
        )
    assert list(caught.value.failures) == [Tile(1, 1)]
    assert "3 of 4 tiles are finished" in caught.value.__notes__[0]
