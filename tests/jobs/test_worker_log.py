"""Laws of the log of a job: how far it is, what was written, and what its workers say."""

import logging
import time
from contextlib import ExitStack

import pytest
from distributed import Client, LocalCluster
from toy_jobs import make_files, run_job

from seg4eo_xr.jobs.worker_log import worker_log_heard

pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("log"))


def told_by(caplog, name):
    return [r.getMessage() for r in caplog.records if r.name == f"seg4eo_xr.{name}"]


def test_a_job_tells_what_was_chosen_how_far_it_is_and_what_was_written(folder, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="seg4eo_xr"):
        result = run_job(folder, tmp_path / "map.zarr")
    assert "on cpu in " in " ".join(told_by(caplog, "inference.predict"))
    made = told_by(caplog, "jobs.tile_work")
    assert len(made) == result.tiles
    order = told_by(caplog, "jobs.order")
    assert f"mapping into {tmp_path / 'map.zarr'}; tiles: {result.tiles}" in order
    assert told_by(caplog, "jobs.tally")[-1].startswith(
        f"tiles done: {result.tiles} of {result.tiles}"
    )
    assert order[-1].startswith("finished after ")
    assert f"wrote {tmp_path / 'map.zarr'}" in told_by(caplog, "staging")


def test_a_long_job_tells_how_far_it_is_in_few_lines(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="seg4eo_xr.jobs.tally"):
        run_job(folder, tmp_path / "map.zarr")
    assert sum("tiles done" in line for line in told_by(caplog, "jobs.tally")) <= 20


def test_worker_processes_are_heard_where_somebody_listens(folder, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="seg4eo_xr"):
        result = run_job(folder, tmp_path / "map.zarr", workers=1)
    lines = [r for r in caplog.records if r.name == "seg4eo_xr.jobs.tile_work"]
    assert len(lines) == result.tiles
    assert all(r.worker.startswith("tcp://") for r in lines)


def test_worker_processes_are_left_alone_where_nobody_listens(folder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="seg4eo_xr"):
        run_job(folder, tmp_path / "map.zarr", workers=1)
    assert not [r for r in caplog.records if r.name.startswith("seg4eo_xr")]


def test_one_who_stops_listening_leaves_the_others_their_log(caplog):
    with (
        LocalCluster(n_workers=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        caplog.at_level(logging.INFO, logger="seg4eo_xr"),
    ):
        first, second = ExitStack(), ExitStack()
        first.enter_context(worker_log_heard(client))
        second.enter_context(worker_log_heard(client))
        first.close()
        client.submit(say, "still here", pure=False).result()
        for _ in range(100):
            if told_by(caplog, "test"):
                break
            time.sleep(0.05)
        second.close()
        client.submit(say, "too late", pure=False).result()
    assert told_by(caplog, "test") == ["still here"]


def say(text):
    logging.getLogger("seg4eo_xr.test").info(text)
