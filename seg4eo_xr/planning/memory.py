"""How much memory a prediction takes at most, as a function of chunk, threads and network.

The scene's size enters only by its width, since strips of a row of chunks wait for the next row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg4eo_xr.planning.costs import Load

# Bytes of a blended sum, and of a probability.
_NUMBER = 4
# What the libraries' own scratch takes on top of the tensors that are alive.
_SCRATCH = 1.5
# What an allocator keeps of what was freed: some blocks in any case, and a share of the rest.
_KEPT, _KEPT_SHARE = 128 << 20, 0.25
# What an accelerator's driver takes of its memory.
_CONTEXT = 512 << 20
# Copies of the weights: as loaded, as built, and while they are put into the network's precision.
_WEIGHTS = 3


@dataclass(frozen=True)
class ChunkShape:
    """A chunk of windows as memory sees it.

    Parameters
    ----------
    reach
        Height and width in pixels of what the windows cover.
    window
        Height and width of a window.
    overlap
        Pixels that neighbouring windows share, along y and along x.
    block
        Height and width of the scene's largest block.
    columns
        Chunks side by side in one graph: those of the scene, or of a tile.
    """

    reach: tuple[int, int]
    window: tuple[int, int]
    overlap: tuple[int, int]
    block: tuple[int, int]
    columns: int


@dataclass(frozen=True)
class NetworkMemory:
    """What a network takes.

    Parameters
    ----------
    weights
        Bytes of its weights in float32.
    forward
        Bytes alive in one forward pass; see `seg4eo_xr.planning.activations.forward_bytes`.
    """

    weights: int
    forward: int


@dataclass(frozen=True)
class Memory:
    """Most memory that a run takes, in bytes.

    Parameters
    ----------
    host
        By what takes it.
    device
        By what takes it on the accelerator; empty where the network runs on the processor.
    """

    host: dict[str, int]
    device: dict[str, int]

    @property
    def host_bytes(self) -> int:
        """All of the host's."""
        return sum(self.host.values())

    @property
    def device_bytes(self) -> int:
        """All of the accelerator's."""
        return sum(self.device.values())

    def times(self, processes: int) -> Memory:
        """Memory of so many processes of one machine, each with an accelerator if there are any."""
        return Memory({part: size * processes for part, size in self.host.items()}, self.device)


def peak_memory(
    chunk: ChunkShape,
    load: Load,
    network: NetworkMemory,
    *,
    lanes: int,
    on_device: bool = False,
    held: int = 0,
) -> Memory:
    """Estimate the most memory that a run takes.

    Parameters
    ----------
    chunk, load, network
        What is computed at a time.
    lanes
        Threads that work on a chunk each.
    on_device
        Whether an accelerator runs the network, one chunk at a time.
    held
        Bytes that the process takes beforehand: an interpreter that has loaded the libraries.

    Examples
    --------
    >>> from seg4eo_xr.planning.costs import Load
    >>> load = Load(bands=10, itemsize=2, written=5, layers=2, channels=6, batch_size=1)
    >>> chunk = ChunkShape((1664, 1664), (512, 512), (128, 128), (1280, 1280), columns=8)
    >>> network = NetworkMemory(weights=98_000_000, forward=111_000_000)
    >>> one, two = (peak_memory(chunk, load, network, lanes=n).host_bytes for n in (1, 2))
    >>> one < two < 2 * one
    True
    """
    reach = chunk.reach[0] * chunk.reach[1]
    stored = load.bands * load.itemsize
    # A chunk, and the blocks that it is joined from; and which of its pixels hold data.
    pixels = reach * (stored + 1) + (reach + chunk.block[0] * chunk.block[1]) * stored
    # Being made, being folded, and being written.
    layers = 3 * reach * load.written
    strips = (
        2
        * _NUMBER
        * load.channels
        * (chunk.overlap[0] * chunk.reach[1] + chunk.overlap[1] * chunk.reach[0])
    )
    # Edges of the map, and what blocks hold for the next row.
    edges = chunk.overlap[0] * (_NUMBER * load.channels + load.written)
    rows = min(chunk.block[0], chunk.reach[0]) * stored
    waiting = chunk.columns * chunk.reach[1] * (edges + rows)
    running = _running(chunk, load, network)
    host = {
        "held before": held,
        "weights": _WEIGHTS * network.weights,
        "scene": lanes * pixels,
        "map": lanes * (layers + strips),
        "waiting for neighbours": waiting,
    }
    if not on_device:
        return Memory(_with_kept({**host, "network": lanes * running}, held), {})
    device = {"weights": network.weights, "scene": reach * stored, "network": running}
    return Memory(_with_kept(host, held), {**_with_kept(device, 0), "driver": _CONTEXT})


def _with_kept(parts: dict[str, int], held: int) -> dict[str, int]:
    kept = _KEPT + round(_KEPT_SHARE * (sum(parts.values()) - held))
    return {**parts, "kept by the allocator": kept}


def _running(chunk: ChunkShape, load: Load, network: NetworkMemory) -> int:
    """Forward pass, probabilities and sums of one chunk at a time."""
    window = chunk.window[0] * chunk.window[1]
    probabilities = 3 * _NUMBER * load.batch_size * load.channels * window
    band = 2 * _NUMBER * load.channels * chunk.window[0] * chunk.reach[1]
    return round(_SCRATCH * network.forward) + probabilities + band
