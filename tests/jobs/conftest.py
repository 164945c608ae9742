import pytest
from toy_network import tiny_network


@pytest.fixture(scope="module")
def tiny_networks():
    """Every network that a module builds is a tiny one."""
    with tiny_network():
        yield
