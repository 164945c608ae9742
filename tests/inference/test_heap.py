from __future__ import annotations

import subprocess
import sys

import pytest

from seg4eo_xr.inference import heap

FAULTS = """
import resource, sys
import torch
from seg4eo_xr.inference.heap import keep_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(12 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain, kept = faults(), keep_blocks()
faults()
print(plain, int(kept), faults())
"""


def test_blocks_that_are_used_again_cost_no_fresh_pages():
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    plain, kept, after = map(int, done.stdout.split())
    if not kept:
        pytest.skip("the C library has no such setting")
    assert after < plain / 10


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "_library", lambda: None)
    assert heap.keep_blocks.__wrapped__() is False
    assert heap.release_free_memory() is False
