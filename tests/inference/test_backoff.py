from __future__ import annotations

import pytest
import torch
from toys import Constant, make_setup

from seg4eo_xr.inference import backoff
from seg4eo_xr.inference.backoff import BatchWarning, fitted_batch, run_in_memory
from seg4eo_xr.inference.network import Network


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(backoff, "_fitting", {})


class Hungry(Constant):
    """Takes batches of up to `fits` windows, and says what it was given."""

    def __init__(self, fits: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__([1.0, 2.0])
        self.fits, self.error, self.ran = fits, error, []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > self.fits:
            raise self.error("[enforce fail] can't allocate memory: you tried 10 bytes")
        self.ran.append(len(batch))
        return super().forward(batch)


def network(module: torch.nn.Module) -> Network:
    return Network(module, token="hungry", binary=False, device="cpu")


def test_a_batch_that_fits_is_left_as_it_is():
    hungry = Hungry(4)
    assert run_in_memory(network(hungry), torch.zeros(4, 1, 2, 2)).shape == (4, 2, 2, 2)
    assert hungry.ran == [4]
    assert fitted_batch("hungry") is None


def test_a_batch_that_does_not_fit_is_halved_once_and_for_all_and_stays_full():
    hungry = Hungry(2)
    ours = network(hungry)
    with pytest.warns(BatchWarning, match="for the same bits in every run") as said:
        assert run_in_memory(ours, torch.zeros(6, 1, 2, 2)).shape == (6, 2, 2, 2)
    assert len(said) == 2
    assert hungry.ran == [2, 2, 2]
    run_in_memory(ours, torch.zeros(6, 1, 2, 2))
    assert hungry.ran == [2] * 6
    assert fitted_batch("hungry") == 2
    assert fitted_batch("another") is None


def test_the_last_of_the_smaller_batches_is_filled():
    hungry = Hungry(2)
    with pytest.warns(BatchWarning):
        answer = run_in_memory(network(hungry), torch.zeros(3, 1, 2, 2))
    assert answer.shape == (3, 2, 2, 2)
    assert hungry.ran == [2, 2]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_where_no_window_fits_the_error_says_what_to_do(error):
    with pytest.raises(MemoryError, match=r"window of 2 × 4 px does not fit.*smaller patch_size"):
        run_in_memory(network(Hungry(0, error)), torch.zeros(1, 1, 2, 4))


def test_other_errors_pass():
    module = torch.nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run_in_memory(network(module), torch.zeros(4, 1, 2, 2))


def test_a_whole_map_is_made_in_smaller_batches():
    setup = make_setup((30, 30), (8, 8), (2, 2), batch_size=4, classes=2)
    expected = setup.reference()
    plain, module = setup.network.module, setup.network.module

    class Small(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return plain(batch)

    setup.network.module = Small()
    runner = setup.runner((9, 9))
    with pytest.warns(BatchWarning):
        result = runner(setup.scene, (0, 0))
    setup.network.module = module
    height, width = setup.scene.shape[1:]
    probabilities = result.layers["probabilities"][:, :height, :width]
    torch.testing.assert_close(
        torch.from_numpy(probabilities.copy()),
        torch.from_numpy(expected["probabilities"]),
        atol=1e-5,
        rtol=0,
    )
