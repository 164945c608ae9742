"""Dask tasks that write are run to their end."""

from __future__ import annotations

import time
from threading import Barrier, Thread

import dask

from seg4eo_xr.running import run_to_the_end


def test_writers_in_two_threads_have_pools_of_their_own():
    both_run = Barrier(2)
    found = {}

    def write(name, seconds):
        first = dask.delayed(both_run.wait)(10)
        rest = dask.delayed(lambda _: time.sleep(seconds) or name)(first)
        last = dask.delayed(lambda word: word.upper())(rest)
        found[name] = run_to_the_end([last])

    threads = [Thread(target=write, args=one) for one in (("short", 0.0), ("long", 0.3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"short": ("SHORT",), "long": ("LONG",)}
    assert dask.config.get("pool", None) is None
