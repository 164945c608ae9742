from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from toys import Constant

from seg4eo_xr.inference.compiling import CompiledModule, CompileWarning
from seg4eo_xr.inference.network import Network, turn_on


def small() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)
        return torch.nn.Sequential(*layers)


def batch() -> torch.Tensor:
    return torch.rand((2, 2, 16, 16), generator=torch.Generator().manual_seed(0))


def test_a_compiled_network_answers_as_the_plain_one_in_every_thread_and_copy():
    plain, compiled = (
        Network(small(), token="small", binary=False, device="cpu", compile=compile)
        for compile in (False, True)
    )

    def run(network: Network) -> torch.Tensor:
        with turn_on("cpu"):
            return network.probabilities(batch())

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(run, [compiled] * 8))
    torch.testing.assert_close(answers[0], run(plain))
    answers.append(run(pickle.loads(pickle.dumps(compiled))))
    assert all(torch.equal(answer, answers[0]) for answer in answers)


def test_each_shape_is_compiled_once_whatever_the_threads(monkeypatch):
    compiled = []

    def compile(module: torch.nn.Module, **options: object) -> torch.nn.Module:
        compiled.append(options)
        return module

    monkeypatch.setattr(torch, "compile", compile)
    module = CompiledModule(Constant([1.0, 2.0]))
    shapes = [(1, 2, 4, 4), (1, 2, 8, 8)] * 8
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(module, [torch.zeros(shape) for shape in shapes]))
    assert compiled == [{"dynamic": False}] * 2


def test_what_cannot_be_compiled_runs_as_it_is_with_one_warning(monkeypatch):
    def compile(module: torch.nn.Module, **options: object) -> torch.nn.Module:
        raise RuntimeError("no such instruction\nand more")

    monkeypatch.setattr(torch, "compile", compile)
    module = CompiledModule(Constant([1.0, 2.0]))
    with pytest.warns(CompileWarning, match="runs as it is: no such instruction; leave compile"):
        first = module(batch())
    assert torch.equal(first, module(batch()))


def test_errors_of_the_network_itself_stay_its_own():
    with pytest.raises(RuntimeError, match="expected input"):
        CompiledModule(torch.nn.Conv2d(5, 1, 1))(batch())
