"""What only a CUDA device can show; opt in with -m gpu."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import make_setup

from seg4eo_xr.inference.network import Network
from seg4eo_xr.inference.transfers import Upload

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")]


@pytest.fixture(autouse=True)
def _cuda():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_chunk_arrives_as_it_left(dtype):
    chunk = np.arange(10 * 300 * 200).reshape(10, 300, 200).astype(dtype)
    np.testing.assert_array_equal(Upload(chunk, "cuda").arrived().cpu().numpy(), chunk)


@pytest.mark.parametrize("way", [{}, {"precision": "bfloat16"}, {"compile": True}, {"tta": True}])
def test_a_map_does_not_depend_on_chunking_and_is_close_to_the_processors(way):
    setup = make_setup((90, 70), (24, 24), (6, 6), missing=0.2)
    expected = setup.reference()["probabilities"]
    setup.network = Network(setup.network.module, token="t", binary=False, device="cuda", **way)
    whole, again = (setup.runner((9, 9))(setup.scene, (0, 0)) for _ in range(2))
    for layer, values in whole.layers.items():
        np.testing.assert_array_equal(values, again.layers[layer])
    probabilities = whole.layers["probabilities"][:, :90, :70]
    known = ~np.isnan(expected)
    np.testing.assert_allclose(probabilities[known], expected[known], atol=0.05)
