import pickle

import dask
import pytest
import torch
from toys import Constant, PlaceAware

from seg4eo_xr.inference.network import Network, resolve_device, turn_on, weights_token
from seg4eo_xr.models.zoo import ModelSpec, build_model


def toy(**options) -> Network:
    return Network(PlaceAware(2, 3, 8), token="toy", binary=False, device="cpu", **options)


def test_probabilities_sum_to_one():
    probabilities = toy().probabilities(torch.rand(2, 2, 8, 8))
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 8, 8))


def test_a_binary_network_gives_one_probability():
    network = Network(Constant([0.0]), token="half", binary=True, device="cpu")
    assert network.probabilities(torch.rand(1, 2, 4, 4)).unique().tolist() == [0.5]


def test_lower_precision_is_close_and_answers_in_float32():
    torch.manual_seed(0)
    module = build_model(ModelSpec("unet", "resnet18", 2, 3))
    batch = torch.rand(1, 2, 64, 64)
    exact, rough = (
        Network(module, token="t", binary=False, precision=precision).probabilities(batch)
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, atol=0.05, rtol=0)


def test_the_token_is_that_of_the_weights_and_survives_copies():
    weights = build_model(ModelSpec("unet", "resnet18", 2, 3)).state_dict()
    copy = {name: tensor.clone() for name, tensor in reversed(weights.items())}
    assert weights_token(weights, "unet") == weights_token(copy, "unet")
    assert weights_token(weights, "unet") != weights_token(weights, "fpn")
    copy["segmentation_head.0.bias"] += 1
    assert weights_token(weights, "unet") != weights_token(copy, "unet")


def test_a_pickled_network_is_the_same_to_dask_and_answers_the_same():
    network = toy()
    copy = pickle.loads(pickle.dumps(network))
    assert dask.base.tokenize(copy) == dask.base.tokenize(network)
    batch = torch.rand(2, 2, 8, 8)
    assert torch.equal(copy.probabilities(batch), network.probabilities(batch))


def test_a_network_that_changes_the_size_is_refused():
    network = Network(torch.nn.MaxPool2d(2), token="pool", binary=False)
    with pytest.raises(ValueError, match="one number a class for every pixel"):
        network.probabilities(torch.rand(1, 2, 8, 8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named():
    assert resolve_device("auto") in ("cpu", "mps")
    with pytest.raises(ValueError, match="'cuda' is not available"):
        resolve_device("cuda")


def test_passes_on_the_processor_run_side_by_side_on_one_core_each():
    before = torch.get_num_threads()
    with turn_on("cpu"):
        assert torch.get_num_threads() == 1
        with turn_on("cpu"):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_an_accelerator_takes_one_pass_at_a_time():
    import threading

    inside, most = [], []

    def work():
        with turn_on("pretended"):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 8
    assert max(most) == 1
