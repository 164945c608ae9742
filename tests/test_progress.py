"""Laws of `seg4eo_xr.progress`."""

from __future__ import annotations

import io
import re
import time

import dask
import dask.array as da
import pytest

from seg4eo_xr.progress import progress_bar


def slow(block):
    time.sleep(0.02)
    return block


def work():
    return da.ones(20, chunks=2).map_blocks(slow).sum()


def last_count(text: str) -> tuple[int, int]:
    done, total = re.findall(r"(\d+)/(\d+) ", text)[-1]
    return int(done), int(total)


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        self.write("")


@pytest.mark.parametrize("stream", [Broken(), None], ids=["broken", "closed"])
def test_a_bar_that_cannot_be_shown_stops_no_work(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar("adding up", delay=0):
        assert work().compute() == 20


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_the_bar_of_local_work_ends_full(scheduler, capsys):
    with dask.config.set(scheduler=scheduler), progress_bar("adding up", delay=0):
        assert work().compute() == 20
    text = capsys.readouterr().err
    done, total = last_count(text)
    assert "adding up" in text
    assert done == total > 10


def test_the_bar_of_a_cluster_counts_its_tasks(capsys):
    from distributed import Client

    with (
        Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"),
        progress_bar("adding up", delay=0),
    ):
        assert work().compute() == 20
    done, total = last_count(capsys.readouterr().err)
    assert 5 < done <= total


@pytest.mark.parametrize("options", [{"enabled": False, "delay": 0}, {}])
def test_nothing_is_shown_where_it_is_off_or_over_soon(options, capsys):
    with progress_bar("adding up", **options):
        work().compute()
    assert capsys.readouterr().err.strip() == ""


def test_errors_pass_through():
    with pytest.raises(ZeroDivisionError), progress_bar("failing", delay=0):
        dask.delayed(lambda: 1 / 0)().compute()
