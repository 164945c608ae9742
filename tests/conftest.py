import sys

import pytest
from hypothesis import settings

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
