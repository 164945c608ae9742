"""How much memory a network's forward pass takes, found without running it.

The network is called with tensors that have a shape and a type but no numbers, and every
tensor's birth and death is counted. It takes some tenths of a second, whatever the window's size.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from seg4eo_xr.inference.options import Precision


def forward_bytes(
    module: torch.nn.Module, batch: tuple[int, int, int, int], precision: Precision
) -> int:
    """Peak memory of the tensors of one forward pass, input and answer included.

    Parameters
    ----------
    module
        The network, in evaluation mode.
    batch
        Shape of its input, ``(batch, band, y, x)``.
    precision
        Number format of the pass.

    Returns
    -------
    int
        Bytes that are alive at once at most, without the weights, and without what libraries such
        as oneDNN and cuDNN take as scratch.

    Examples
    --------
    >>> module = torch.nn.Conv2d(3, 4, 1, bias=False)
    >>> forward_bytes(module, (1, 3, 10, 10), "float32")
    2800
    """
    living = _Living()
    low = precision != "float32"
    # The device of autocast is that of the tensors; formats take as many bytes on any other.
    dtype = getattr(torch, precision) if low else torch.bfloat16
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
        living,
        torch.autocast("cpu", dtype, enabled=low),
    ):
        module(torch.zeros(batch))
    return living.peak


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages made inside the block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in self._known | given:
                self._born(storage)
        return result

    def _born(self, storage: torch.UntypedStorage) -> None:
        self._known.add(id(storage))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, id(storage), storage.nbytes()).atexit = False

    def _gone(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.now -= size


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
