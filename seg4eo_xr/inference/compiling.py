"""Compiled networks with frozen weights: compiled by one thread, for one shape, in each process."""

from __future__ import annotations

import threading
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from seg4eo_xr.notices import Seg4EOWarning

if TYPE_CHECKING:
    from collections.abc import Callable

# torch.compile is not thread-safe; what it made is.
_lock = threading.Lock()


class CompileWarning(Seg4EOWarning):
    """A network runs as it is, because it could not be compiled."""


class CompiledModule:
    """A network that compiles itself at the first batch of a shape.

    Parameters
    ----------
    module
        The network, in evaluation mode; its weights must not change any more.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._ready: dict[tuple[Any, ...], Callable[[torch.Tensor], torch.Tensor]] = {}

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run the network, compiled.

        Warns
        -----
        CompileWarning
            If the network cannot be compiled; it then runs as it is, here and from now on.
        """
        key = (batch.shape, batch.dtype, batch.device)
        if key not in self._ready:
            with _lock:
                if key not in self._ready:
                    self._ready[key] = self._compile(batch)
        return self._ready[key](batch)

    def _compile(self, batch: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        expected = self._module(batch)
        try:
            with ExitStack() as stack:
                for setting in _settings():
                    stack.enter_context(setting)
                compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(
                    self._module, dynamic=False
                )
                answer = compiled(batch)
        except Exception as error:  # a compiler fails in many ways, and none of them is the user's
            warnings.warn(
                f"the network could not be compiled and runs as it is: "
                f"{str(error).strip().splitlines()[0]}; leave compile out",
                CompileWarning,
                stacklevel=2,
            )
            return self._module
        if answer.shape != expected.shape:
            raise ValueError(
                f"the compiled network answers {tuple(answer.shape)} where the plain one answers "
                f"{tuple(expected.shape)}; leave compile out"
            )
        return compiled


def _settings() -> list[Any]:
    from torch._inductor import config

    # Frozen weights are laid out for the processor once. One compiling thread starts no processes.
    return [config.patch(freezing=True, compile_threads=1)]
