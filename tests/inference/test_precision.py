from __future__ import annotations

import dask
import pytest
import torch
from torch import nn
from toys import Constant

from seg4eo_xr.inference.compiling import CompileWarning
from seg4eo_xr.inference.hardware import (
    Hardware,
    common_hardware,
    resolve_compile,
    this_machine,
)
from seg4eo_xr.inference.network import Network
from seg4eo_xr.inference.precision import PrecisionWarning, cast_weights, resolve_precision
from seg4eo_xr.models.zoo import ModelSpec, build_model

OLD, NEW = Hardware("cpu", (), False), Hardware("cpu", ("bfloat16",), True)


def test_auto_takes_what_is_fast():
    assert resolve_precision("auto", OLD) == "float32"
    assert resolve_precision("auto", NEW) == "bfloat16"


@pytest.mark.parametrize("choice", ["bfloat16", "float16"])
def test_a_format_that_is_slow_here_is_taken_with_a_warning(choice):
    with pytest.warns(PrecisionWarning, match=f"precision '{choice}' is not computed in hardware"):
        assert resolve_precision(choice, OLD) == choice
    assert resolve_precision("float32", OLD) == "float32"


def test_machines_share_what_all_of_them_have():
    both = Hardware("cuda", ("bfloat16", "float16"), True)
    assert Hardware.shared([both, Hardware("cuda", ("float16",), False)]) == Hardware(
        "cuda", ("float16",), False
    )
    assert Hardware.shared([NEW]) == NEW


def test_without_a_cluster_this_machine_counts():
    assert common_hardware("cpu") == this_machine("cpu")
    assert this_machine("cpu").device == "cpu"


def test_the_workers_of_a_cluster_count(monkeypatch):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        assert common_hardware("cpu") == this_machine("cpu")
        answers = iter([OLD, NEW])
        monkeypatch.setattr(
            "seg4eo_xr.inference.hardware.this_machine", lambda device: next(answers)
        )
        assert common_hardware("cpu") == OLD


def test_a_missing_compiler_is_a_warning_and_no_compilation():
    assert resolve_compile(True, NEW)
    assert not resolve_compile(False, OLD)
    with pytest.warns(CompileWarning, match=r"no compiler for 'cpu' .* install g\+\+"):
        assert not resolve_compile(True, OLD)


def test_weights_are_cast_once_and_norms_are_not():
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(4, 4))
    cast_weights(module, "float32")
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}
    cast_weights(module, "bfloat16")
    assert module[0].weight.dtype == module[2].bias.dtype == torch.bfloat16
    assert module[1].weight.dtype == module[1].running_mean.dtype == torch.float32


@pytest.mark.parametrize(("model", "encoder"), [("unet", "resnet18"), ("segformer", "mit_b0")])
def test_weights_cast_beforehand_give_the_bits_of_autocast(model, encoder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build_model(ModelSpec(model, encoder, 2, 3)).eval()
    batch = torch.rand((1, 2, 64, 64), generator=torch.Generator().manual_seed(0))
    batch = batch.contiguous(memory_format=torch.channels_last)
    module = module.to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = module(batch).float().softmax(1)
    network = Network(module, token="t", binary=False, precision="bfloat16", device="cpu")
    torch.testing.assert_close(network.probabilities(batch), expected, atol=1e-3, rtol=0)


def test_every_way_of_running_has_a_name_of_its_own():
    ways = [
        {},
        {"precision": "bfloat16"},
        {"compile": True},
        {"tta": True},
        {"device": "cpu"},
        {"binary": True},
    ]
    names = {
        dask.base.tokenize(Network(Constant([1.0]), **{"token": "t", "binary": False, **way}))
        for way in ways
    }
    assert len(names) == len(ways)
