"""Where a training runs: devices, processes and precision, and what it leaves untouched."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from seg4eo_xr.notices import Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.training.config import TrainConfig

Kind = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Parameters
    ----------
    kind
        Kind of device.
    count
        How many, each with a device of its own.
    freezes
        Whether a part of the network gets no gradient at first.
    amp
        Whether precision is mixed.
    """

    kind: Kind
    count: int
    freezes: bool
    amp: bool

    @property
    def strategy(self) -> str:
        """Lightning's name of how they work together."""
        if self.count == 1:
            return "auto"
        # Spawned from this very call, so that a script or notebook around it runs once.
        return "ddp_spawn_find_unused_parameters_true" if self.freezes else "ddp_spawn"

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """What mixed precision computes in; None where precision is not mixed."""
        if not self.amp:
            return None
        lacks_bfloat16 = self.kind == "cuda" and not torch.cuda.is_bf16_supported()
        return torch.float16 if lacks_bfloat16 else torch.bfloat16

    @property
    def precision(self) -> Any:
        """Lightning's name of the precision."""
        names = {None: "32-true", torch.float16: "16-mixed", torch.bfloat16: "bf16-mixed"}
        return names[self.autocast_dtype]


def processes_of(config: TrainConfig) -> Processes:
    """Choose the processes that the options ask for.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    kind: Kind
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if config.device == "auto":
        kind = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    else:
        kind = config.device
    if not there.get(kind, True):
        raise ValueError(f"device {config.device!r} is not available here; choose 'auto' or 'cpu'")
    limits = {"cuda": torch.cuda.device_count(), "mps": 1}
    if config.devices > limits.get(kind, config.devices):
        raise ValueError(
            f"devices is {config.devices}, but this machine has {limits[kind]} of the kind "
            f"{kind!r}; choose at most {limits[kind]}"
        )
    return Processes(kind, config.devices, config.freeze_encoder, config.use_amp)


@contextlib.contextmanager
def own_randomness(config: TrainConfig) -> Iterator[None]:
    """Seed torch for the training, and leave the caller's generators as they were."""
    uses_cuda = config.device in ("auto", "cuda") and torch.cuda.is_available()
    with torch.random.fork_rng(devices=[0] if uses_cuda else []):
        torch.manual_seed(config.random_seed)
        yield


def hush() -> None:
    """Silence Lightning's notices in a process that does nothing but train."""
    for logger in _loggers():
        logger.setLevel(logging.ERROR)
    _ignore_warnings()


def _loggers() -> list[logging.Logger]:
    return [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]


def _ignore_warnings() -> None:
    # Lightning's calls of what torch is to retire
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*functional\.all_gather", category=FutureWarning)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's notices, and let Ctrl-C and SIGTERM through as what they are.

    Lightning answers both with a SystemExit, to SIGTERM with one of status 0; a notebook's kernel
    has to live on, and a scheduler has to see that the training is not finished.
    """
    loggers = _loggers()
    levels = [logger.level for logger in loggers]
    with _own_signals():
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            with warnings.catch_warnings():
                _ignore_warnings()
                yield
        except SIGTERMException as error:  # there was a handler already, so that ours was not set
            raise Terminated from error
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise type(error.__context__) from error
            raise
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Raise on SIGTERM where the user handles it in no way, and put all handlers back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if handlers[signal.SIGTERM] is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # None is a handler that was not set from Python
                signal.signal(number, handler)


def _raise_terminated(*_: object) -> None:
    raise Terminated
