"""Run the windows that one chunk owns through a network, and blend them.

This is the kernel of every prediction: NumPy in, NumPy out, no dask. A chunk comes with the pixels
past its end that its last windows need; it answers with its finished layers, and with the sums of
the strips that it shares with its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from dask.base import tokenize

from seg4eo_xr.geometry.blending import FIXED_POINT, taper, window_weights
from seg4eo_xr.inference.network import turn_on
from seg4eo_xr.scenes.conform import check_values
from seg4eo_xr.scenes.contract import normalize, valid_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.geometry.blending import TaperKind
    from seg4eo_xr.geometry.windows import WindowSpan
    from seg4eo_xr.inference.layers import LayerName, MapEncoding
    from seg4eo_xr.inference.network import Network
    from seg4eo_xr.scenes.contract import Contract

# So many rows and columns of a chunk tell whether it holds numbers of the expected size.
_SAMPLE_SIDE = 64


class ChunkResult(NamedTuple):
    """What one chunk knows after its windows have run.

    Sums are blended probabilities × `FIXED_POINT`, int32, ``(channel, y, x)``; h and w are the
    chunk's core, and o the overlap.
    """

    layers: dict[LayerName, np.ndarray]
    """Layers of the core; the shared leading strips are not final."""
    valid: np.ndarray
    """Which pixels of the core hold data, bool ``(h, w)``."""
    top: np.ndarray
    """Own sums of the leading rows, ``(channel, o, w)``, to which the chunk above adds."""
    left: np.ndarray
    """Own sums of the leading columns, ``(channel, h, o)``, to which the chunk on the left adds."""
    below: np.ndarray
    """Sums past the last row, ``(channel, o, w)``, which belong to the chunk below."""
    right: np.ndarray
    """Sums past the last column, ``(channel, h, o)``, which belong to the chunk on the right."""
    corner: np.ndarray
    """Sums past both, ``(channel, o, o)``, which belong to the chunk on the diagonal."""


@dataclass(frozen=True, eq=False)
class WindowRunner:
    """Runs all windows of any chunk of one prediction.

    Parameters
    ----------
    network
        What to run.
    contract
        How stored numbers become the network's input.
    encoding
        Which layers to make.
    spans
        Windows that each chunk owns, along y and along x.
    blending
        Taper of the blending weights.
    batch_size
        Windows a forward pass. A batch is always full, the rest being zeros, because networks
        answer in other bits to batches of another size.
    """

    network: Network
    contract: Contract
    encoding: MapEncoding
    spans: tuple[tuple[WindowSpan, ...], tuple[WindowSpan, ...]]
    blending: TaperKind
    batch_size: int

    def __dask_tokenize__(self) -> tuple[str, str]:
        parts = [getattr(self, part.name) for part in fields(self)]
        return ("WindowRunner", tokenize(*parts))

    def __call__(self, chunk: np.ndarray, block: tuple[int, int]) -> ChunkResult:
        """Run the windows of one chunk, each exactly once.

        Parameters
        ----------
        chunk
            Stored numbers, ``(band, y, x)``: the chunk's pixels and, where a chunk follows, as many
            more as windows overlap.
        block
            Position of the chunk in the grid of chunks.

        Returns
        -------
        ChunkResult
            Finished layers and the sums of shared strips.
        """
        vertical, horizontal = self.spans[0][block[0]], self.spans[1][block[1]]
        padding = (vertical.reach - chunk.shape[1], horizontal.reach - chunk.shape[2])
        if any(padding):
            chunk = np.pad(chunk, ((0, 0), (0, padding[0]), (0, padding[1])), "reflect")
        valid = valid_mask(chunk, self.contract.nodata, self.contract.nodata_rule)
        sparse = tuple(slice(None, None, ceil(side / _SAMPLE_SIDE)) for side in valid.shape)
        check_values(chunk[:, *sparse], valid[sparse], self.contract)
        device = self.network.resolve_device()
        with turn_on(device), torch.inference_mode():
            sums = _Sums(self, vertical, horizontal, device)
            for row, column, probabilities in self._forward(
                chunk, valid, vertical, horizontal, device
            ):
                sums.add(row, column, probabilities)
            return sums.finish(valid)

    def _forward(
        self,
        chunk: np.ndarray,
        valid: np.ndarray,
        vertical: WindowSpan,
        horizontal: WindowSpan,
        device: str,
    ) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield (row, column, probabilities) of each window that holds data, row by row."""
        side = (vertical.axis.window, horizontal.axis.window)
        places = [
            (row, column, (slice(y, y + side[0]), slice(x, x + side[1])))
            for row in range(vertical.count)
            for column in range(horizontal.count)
            for y, x in [(vertical.axis.start(row), horizontal.axis.start(column))]
            if valid[y : y + side[0], x : x + side[1]].any()
        ]
        numbers = torch.from_numpy(chunk)
        batch = torch.zeros((self.batch_size, len(chunk), *side), device=device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        for first in range(0, len(places), self.batch_size):
            members = places[first : first + self.batch_size]
            batch[len(members) :] = 0
            for slot, (_, _, window) in enumerate(members):
                pixels = numbers[:, window[0], window[1]].to(device)
                batch[slot] = normalize(pixels, self._contract_of(valid[window]))
            probabilities = self.network.probabilities(batch)
            if probabilities.shape[1] != self.encoding.channels:
                raise ValueError(
                    f"the network gives {probabilities.shape[1]} numbers a pixel, but "
                    f"{self.encoding.channels} were expected for {len(self.encoding.codes)} classes"
                )
            for slot, (row, column, _) in enumerate(members):
                yield row, column, probabilities[slot]

    def _contract_of(self, valid: np.ndarray) -> Contract:
        # A window without missing pixels needs no search for them on the device.
        if self.contract.nodata_rule == "any" and valid.all():
            return replace(self.contract, nodata=None)
        return self.contract


class _Sums:
    """Sums of one chunk: a band of rows one window high, finished and moved on row by row."""

    def __init__(
        self, runner: WindowRunner, vertical: WindowSpan, horizontal: WindowSpan, device: str
    ) -> None:
        self.encoding = runner.encoding
        self.vertical, self.horizontal = vertical, horizontal
        self.weights = [
            torch.from_numpy(_span_weights(span, runner.blending)).to(device)
            for span in (vertical, horizontal)
        ]
        channels, height, width = self.encoding.channels, vertical.core, horizontal.core
        self.layers = self.encoding.empty(height, width)
        self.top = np.empty((channels, vertical.shared_before, width), np.int32)
        self.left = np.empty((channels, height, horizontal.shared_before), np.int32)
        self.right = np.empty((channels, height, horizontal.shared_after), np.int32)
        self.band = torch.zeros(
            (channels, vertical.axis.window, horizontal.reach), dtype=torch.int32, device=device
        )
        self.row = 0

    def add(self, row: int, column: int, probabilities: torch.Tensor) -> None:
        """Add one window's share; rows come in ascending order."""
        while self.row < row:
            self._next_row()
        begin = self.horizontal.axis.start(column)
        weights = self.weights[0][row][:, None] * self.weights[1][column] * FIXED_POINT
        share = (probabilities * weights).round_().to(torch.int32)
        self.band[:, :, begin : begin + self.horizontal.axis.window] += share

    def finish(self, valid: np.ndarray) -> ChunkResult:
        """Finish the remaining rows and hand everything over."""
        while self.row < self.vertical.count:
            self._next_row()
        height, width, overlap = (
            self.vertical.core,
            self.horizontal.core,
            self.vertical.axis.overlap,
        )
        if self.vertical.is_last:
            self._write(self.band[:, :overlap], height - overlap)
        rest = self.band[:, : self.vertical.shared_after].cpu().numpy()
        return ChunkResult(
            layers=self.layers,
            valid=valid[:height, :width].copy(),
            top=self.top,
            left=self.left,
            below=rest[:, :, :width].copy(),
            right=self.right,
            corner=rest[:, :, width:].copy(),
        )

    def _next_row(self) -> None:
        """Write out the rows to which no further window adds, and move the band on."""
        stride = self.vertical.axis.stride
        self._write(self.band[:, :stride], self.vertical.axis.start(self.row))
        rest = self.band[:, stride:].clone()
        self.band[:, : rest.shape[1]] = rest
        self.band[:, rest.shape[1] :] = 0
        self.row += 1

    def _write(self, sums: torch.Tensor, first: int) -> None:
        rows, width = slice(first, first + sums.shape[1]), self.horizontal.core
        for layer, values in self.encoding.finalise(sums[:, :, :width]).items():
            self.layers[layer][..., rows, :] = values
        numbers = sums.cpu().numpy()
        self.left[:, rows] = numbers[:, :, : self.left.shape[2]]
        self.right[:, rows] = numbers[:, :, width:]
        shared = max(0, self.top.shape[1] - first)
        self.top[:, rows] = numbers[:, :shared, :width]


def _span_weights(span: WindowSpan, blending: TaperKind) -> np.ndarray:
    profile = taper(blending, span.axis.window, span.axis.overlap)
    indices = range(span.first, span.first + span.count)
    return np.stack([window_weights(span.axis, index, profile) for index in indices])
