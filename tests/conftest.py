import os
import sys

import dask
import pytest
from hypothesis import settings

# Processes of pytest-xdist share the cores; torch and its like would each take all of them.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

# dask's profiler may stop Python 3.11 for ever (https://github.com/python/cpython/issues/106883).
dask.config.set({"distributed.worker.profile.enabled": False})

# The normal run tries the same examples each time; --hypothesis-profile=search looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=300, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _close_figures():
    """Pyplot keeps figures until they are closed."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
