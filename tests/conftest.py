import sys

import pytest


@pytest.fixture(autouse=True)
def _close_figures():
    """Pyplot keeps figures until they are closed."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
