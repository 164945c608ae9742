"""A network as prediction holds it: frozen, picklable, named by its weights."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from seg4eo_xr.inference.agreement import power
from seg4eo_xr.inference.compiling import CompiledModule
from seg4eo_xr.inference.folding import fold_batch_norms
from seg4eo_xr.inference.heap import release_free_memory
from seg4eo_xr.inference.precision import autocast, cast_weights
from seg4eo_xr.inference.symmetries import average_over_symmetries
from seg4eo_xr.models.zoo import takes_any_size, window_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from seg4eo_xr.inference.layers import LayerName
    from seg4eo_xr.inference.options import Device, Precision
    from seg4eo_xr.models.checkpoint import Checkpoint


# Side of the picture, in pixels, on which a network shows which of its layers belong together.
_PROBE_SIDE = 64

# Rows that are activated at a time on a processor.
_STRIP = 64

_lock = threading.Lock()
_turns: dict[str, threading.Semaphore] = {}
# One entry a pass under way on the processor: the thread count to go back to.
_passes: list[int] = []


@dataclass(eq=False)
class Network:
    """A segmentation network and how to run it.

    Parameters
    ----------
    module
        Turns ``(batch, band, y, x)`` float32 into logits ``(batch, channel, y, x)``. It is put into
        evaluation mode and into the precision, and belongs to this object from now on.
    token
        Names the weights: equal tokens promise equal results.
    binary
        Whether a single output passes through a sigmoid; otherwise all pass through a softmax.
    precision
        Number format of the forward pass; probabilities are float32 in any case.
    device
        Where to run; ``auto`` takes CUDA, then Apple's MPS, then the processor, as found where the
        work is done.
    compile
        Whether to compile the network where it runs.
    tta
        Whether to average over the eight symmetries of the square.
    temperature
        Divides the logits.
    measures
        Layers that need a channel of their own beside the probabilities, of `MEASURES`.
    """

    module: torch.nn.Module
    _: KW_ONLY
    token: str
    binary: bool
    precision: Precision = "float32"
    device: Device = "auto"
    compile: bool = False
    tta: bool = False
    temperature: float = 1.0
    measures: tuple[LayerName, ...] = ()
    _placed: dict[str, Callable[[torch.Tensor], torch.Tensor]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        module = cast_weights(self.module.eval().requires_grad_(False), self.precision)
        # Channels-last is 1.6 times as fast for convolutions on AVX-512 processors.
        self.module = module.to(memory_format=torch.channels_last)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        window: int | None = None,
        precision: Precision = "float32",
        device: Device = "auto",
        compile: bool = False,
        tta: bool = False,
        measures: tuple[LayerName, ...] = (),
    ) -> Network:
        """Take over the network of a checkpoint, its batch norms folded into its convolutions.

        Raises a ValueError if it refuses windows of the side `window`, by default that of the
        training patches.
        """
        network = cls(
            _folded(checkpoint, window or checkpoint.patch_size),
            token=weights_token(
                checkpoint.state_dict, repr(checkpoint.spec), checkpoint.temperature
            ),
            binary=checkpoint.mode == "binary",
            precision=precision,
            device=device,
            compile=compile,
            tta=tta,
            temperature=checkpoint.temperature,
            measures=measures,
        )
        # What folding and casting have left behind is as large as the network.
        release_free_memory()
        return network

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        ways = (self.binary, self.precision, self.device, self.compile, self.tta)
        more = (self.temperature, self.measures)
        return ("Network", self.token, *map(str, ways), *map(str, more))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_placed": {}}

    def resolve_device(self) -> Device:
        """Name of the device to run on, as this machine has it."""
        return resolve_device(self.device)

    def probabilities(self, batch: torch.Tensor) -> torch.Tensor:
        """Run one batch.

        Parameters
        ----------
        batch
            Normalised windows, float32 ``(batch, band, y, x)``, on the device.

        Returns
        -------
        Tensor of float32, ``(batch, channel, y, x)``
            Probabilities, and then a channel for each of the measures, contiguous; see
            `require_finite`.

        Raises
        ------
        ValueError
            If the network's answer is of another size than its input, or if windows are to be
            turned and are not square.
        """
        with torch.inference_mode():
            found = average_over_symmetries(self._view, batch) if self.tta else self._answer(batch)
            return self._with_measures(found) if self.measures else found

    def _view(self, batch: torch.Tensor) -> torch.Tensor:
        """Answer, and how concentrated the answer is if the views' spread is asked for."""
        answer = self._answer(batch)
        if "view_disagreement" not in self.measures:
            return answer
        return torch.cat([answer, power(answer, binary=self.binary)], 1)

    def _with_measures(self, found: torch.Tensor) -> torch.Tensor:
        parts = {}
        if "view_disagreement" in self.measures:
            found, of_views = found[:, :-1], found[:, -1:]
            spread = of_views - power(found, binary=self.binary)
            parts["view_disagreement"] = spread.clamp_(min=0)
        if "disagreement" in self.measures:
            parts["disagreement"] = power(found, binary=self.binary)
        return torch.cat([found, *(parts[name] for name in self.measures)], 1)

    def require_finite(self, total: torch.Tensor) -> None:
        """Raise a ValueError where the sum of the network's answers shows that one was not finite.

        Asked once for many batches, so that an accelerator need not stop for each of them.
        """
        if not torch.isfinite(total).all():
            raise ValueError(
                "the network answered NaN or infinity; its weights may be damaged"
                + ("" if self.precision == "float32" else ", or try precision='float32'")
            )

    def _answer(self, batch: torch.Tensor) -> torch.Tensor:
        device = batch.device.type
        with autocast(device, self.precision):
            logits = self._on(device)(batch)
        if logits.shape[0] != batch.shape[0] or logits.shape[2:] != batch.shape[2:]:
            raise ValueError(
                f"the network answered {tuple(logits.shape)} to an input of {tuple(batch.shape)}; "
                "it must give one number a class for every pixel"
            )
        result = torch.empty(logits.shape, device=batch.device)
        # Strip by strip on a processor, because a small softmax stays in its cache.
        rows = _STRIP if device == "cpu" else logits.shape[2]
        for one, into in zip(logits, result, strict=True):
            for part, strip in zip(one.split(rows, 1), into.split(rows, 1), strict=True):
                numbers = part.to(torch.float32, memory_format=torch.contiguous_format)
                if self.temperature != 1:
                    numbers = numbers / self.temperature
                strip.copy_(numbers.sigmoid() if self.binary else numbers.softmax(0))
        return result

    def _on(self, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        if device == "cpu" and not self.compile:
            return self.module
        with _lock:
            if device not in self._placed:
                module = self.module.to(device)
                self._placed[device] = CompiledModule(module) if self.compile else module
            return self._placed[device]


def _folded(checkpoint: Checkpoint, window: int) -> torch.nn.Module:
    """Build a checkpoint's network, fold its batch norms, and make sure that it takes windows."""
    spec, module = checkpoint.spec, checkpoint.build()
    side = _PROBE_SIDE if takes_any_size(spec) else window
    generator = torch.Generator().manual_seed(0)
    example = torch.rand((1, spec.in_channels, side, side), generator=generator)
    try:
        return fold_batch_norms(module, example)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(window_refused(module, spec, side, error)) from error


def resolve_device(device: Device) -> Device:
    """Turn ``auto`` into the fastest device of this machine.

    Raises
    ------
    ValueError
        If the device asked for is not there.
    """
    available: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if device not in available:
        raise ValueError(f"device must be one of auto, {', '.join(available)}, got {device!r}")
    if not available[device]:
        raise ValueError(
            f"device {device!r} is not available here; choose 'auto' or 'cpu' (--device), or "
            "install a torch that is built for it, see https://pytorch.org/get-started"
        )
    return device


@contextmanager
def turn_on(device: str) -> Iterator[None]:
    """Wait for a turn on a device and hold it for the block's time.

    An accelerator takes one forward pass at a time; threads that wait have already read their
    chunk, so they act as read-ahead. A processor takes a pass a dask thread, and each pass runs on
    one core: many networks answer in other bits on another number of cores, which differs between a
    laptop's threads and a cluster's workers, and several passes side by side are no slower than one
    on all.
    """
    if device == "cpu":
        with _one_core_a_pass():
            yield
        return
    with _lock:
        turn = _turns.setdefault(device, threading.Semaphore(1))
    with turn:
        yield


@contextmanager
def _one_core_a_pass() -> Iterator[None]:
    """Set torch to one thread here; the last pass to end gives the process its setting back."""
    with _lock:
        _passes.append(_passes[0] if _passes else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            before = _passes.pop()
            if not _passes:
                torch.set_num_threads(before)


def weights_token(
    state_dict: Mapping[str, torch.Tensor], architecture: str, temperature: float = 1.0
) -> str:
    """Name weights by their content: the same in every process and after every copy."""
    calibrated = "" if temperature == 1 else f", temperature {temperature!r}"
    digest = hashlib.blake2b(f"{architecture}{calibrated}".encode(), digest_size=16)
    for name, tensor in sorted(state_dict.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
