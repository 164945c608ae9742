"""What the machines of a run have in common, so that all of them give the same bits."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from seg4eo_xr.inference.compiling import CompileWarning
from seg4eo_xr.inference.network import resolve_device
from seg4eo_xr.running import active_client

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seg4eo_xr.inference.options import Device


@dataclass(frozen=True)
class Hardware:
    """What a prediction may count on.

    Parameters
    ----------
    device
        Where the network runs: ``cuda``, ``mps`` or ``cpu``.
    fast_formats
        Number formats besides float32 that the device computes in hardware.
    compiler
        Whether there is what `torch.compile` needs for the device.
    """

    device: Device
    fast_formats: tuple[str, ...]
    compiler: bool

    @classmethod
    def shared(cls, machines: Iterable[Hardware]) -> Hardware:
        """What all of them have; at least one.

        Examples
        --------
        >>> new, old = Hardware("cpu", ("bfloat16",), True), Hardware("cpu", (), True)
        >>> Hardware.shared([new, old])
        Hardware(device='cpu', fast_formats=(), compiler=True)
        """
        first, *others = machines
        formats = list(first.fast_formats)
        for other in others:
            formats = [name for name in formats if name in other.fast_formats]
        return cls(first.device, tuple(formats), all(m.compiler for m in (first, *others)))


def this_machine(device: Device) -> Hardware:
    """What this machine has; see `resolve_device` for `device`."""
    name = resolve_device(device)
    return Hardware(name, _fast_formats(name), _has_compiler(name))


def common_hardware(device: Device) -> Hardware:
    """What all workers of the dask client in use have, or else this machine.

    Parameters
    ----------
    device
        As the options say; with ``auto``, workers of which only some have an accelerator all
        compute on their processors.

    Raises
    ------
    ValueError
        If the device asked for is not there.
    """
    client = active_client()
    machines: list[Hardware] = []
    if client is not None:
        machines = list(client.run(this_machine, device).values())
        if len({machine.device for machine in machines}) > 1:
            machines = list(client.run(this_machine, "cpu").values())
    # Workers that join later are like this machine, for all that is known.
    return Hardware.shared(machines or [this_machine(device)])


def resolve_compile(wanted: bool, hardware: Hardware) -> bool:
    """Tell whether to compile: where it is wanted, and every machine has a compiler.

    Warns
    -----
    CompileWarning
        If it is wanted and there is none.
    """
    if wanted and not hardware.compiler:
        warnings.warn(
            f"compile: no compiler for {hardware.device!r} is at hand, so the network runs as it "
            "is; install g++ (or Triton for an accelerator) where it runs, or leave compile out",
            CompileWarning,
            stacklevel=2,
        )
    return wanted and hardware.compiler


def _fast_formats(device: str) -> tuple[str, ...]:
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16", "float16") if native else ("float16",)
    if device == "mps":
        return ("float16",)
    # The public listing of a processor's abilities is younger than the oldest torch we support.
    amx, avx = torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported()
    return ("bfloat16",) if amx or avx else ()


def _has_compiler(device: str) -> bool:
    if device == "cpu":
        return any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++", "cl")))
    from torch.utils._triton import has_triton

    return bool(has_triton())
