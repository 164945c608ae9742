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
from seg4eo_xr.inference.backoff import run_in_memory
from seg4eo_xr.inference.heap import keep_blocks
from seg4eo_xr.inference.network import turn_on
from seg4eo_xr.inference.transfers import Upload
from seg4eo_xr.pages import copy_to_pages, empty_pages
from seg4eo_xr.scenes.contract import normalize, valid_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.geometry.blending import TaperKind
    from seg4eo_xr.geometry.windows import WindowSpan
    from seg4eo_xr.inference.layers import LayerName, MapEncoding
    from seg4eo_xr.inference.network import Network
    from seg4eo_xr.scenes.conform import ValueCheck
    from seg4eo_xr.scenes.contract import Contract

# So many rows and columns of a chunk tell whether it holds numbers of the expected size.
_SAMPLE_SIDE = 64
# Rows that a processor works on at a time, so that what is made on the way stays in its cache.
_STRIP = 64


class ChunkResult(NamedTuple):
    """What one chunk knows after its windows have run.

    Sums are blended probabilities and measures × `FIXED_POINT`, int32, ``(channel, y, x)``; h and w
    are the chunk's core, and o the overlap.
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
    check
        Warns of numbers that the model does not know, once per prediction and process.
    """

    network: Network
    contract: Contract
    encoding: MapEncoding
    spans: tuple[tuple[WindowSpan, ...], tuple[WindowSpan, ...]]
    blending: TaperKind
    batch_size: int
    check: ValueCheck

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
            chunk = _mirrored(chunk, padding)
        valid = valid_mask(chunk, self.contract.nodata, self.contract.nodata_rule)
        sparse = tuple(slice(None, None, ceil(side / _SAMPLE_SIDE)) for side in valid.shape)
        self.check(chunk[:, *sparse], valid[sparse], self.contract)
        device = self.network.resolve_device()
        if device == "cpu":
            keep_blocks()
        upload = Upload(chunk, device)
        with turn_on(device), torch.inference_mode():
            sums = _Sums(self, vertical, horizontal, device)
            for row, column, probabilities in self._forward(
                upload.arrived(), valid, vertical, horizontal, device
            ):
                sums.add(row, column, probabilities)
            self.network.require_finite(sums.seen)
            return sums.finish(valid)

    def _forward(
        self,
        numbers: torch.Tensor,
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
        batch = torch.zeros((self.batch_size, len(numbers), *side), device=device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        for first in range(0, len(places), self.batch_size):
            members = places[first : first + self.batch_size]
            batch[len(members) :] = 0
            for slot, (_, _, window) in enumerate(members):
                contract = self._contract_of(valid[window])
                pixels = numbers[:, window[0], window[1]].to(device)
                for strip, part in zip(*self._strips(batch[slot], pixels), strict=True):
                    strip.copy_(normalize(part, contract))
            probabilities = run_in_memory(self.network, batch)
            if probabilities.shape[1] != self.encoding.summed:
                given = probabilities.shape[1] - len(self.encoding.measures)
                raise ValueError(
                    f"the network gives {given} numbers a pixel, but "
                    f"{self.encoding.channels} were expected for {len(self.encoding.codes)} classes"
                )
            for slot, (row, column, _) in enumerate(members):
                yield row, column, probabilities[slot]

    def _strips(self, *windows: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Cut windows into what is normalised at a time: what a processor's cache holds."""
        by_patch = self.contract.normalization.by_patch
        small = not by_patch and windows[0].device.type == "cpu"
        return [torch.split(one, _STRIP if small else one.shape[1], 1) for one in windows]

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
        channels, height, width = self.encoding.summed, vertical.core, horizontal.core
        self.layers = self.encoding.empty(height, width)
        self.top = empty_pages((channels, vertical.shared_before, width), np.int32)
        self.left = empty_pages((channels, height, horizontal.shared_before), np.int32)
        self.right = empty_pages((channels, height, horizontal.shared_after), np.int32)
        self.band = torch.zeros(
            (channels, vertical.axis.window, horizontal.reach), dtype=torch.int32, device=device
        )
        rows = min(_STRIP, vertical.axis.window) if device == "cpu" else vertical.axis.window
        shape = (channels, rows, horizontal.axis.window)
        # Fresh memory for each window would cost as much as the arithmetic.
        self.share = torch.empty(shape, device=device)
        self.rounded = torch.empty(shape, dtype=torch.int32, device=device)
        self.seen = torch.zeros((), device=device)
        self.row = 0

    def add(self, row: int, column: int, probabilities: torch.Tensor) -> None:
        """Add one window's share; rows come in ascending order."""
        while self.row < row:
            self._next_row()
        begin = self.horizontal.axis.start(column)
        place = self.band[:, :, begin : begin + self.horizontal.axis.window]
        vertical, horizontal = self.weights[0][row], self.weights[1][column]
        self.seen += probabilities.sum()
        rows = self.share.shape[1]
        for first in range(0, len(vertical), rows):
            strip = slice(first, first + rows)
            weights = vertical[strip, None] * horizontal * FIXED_POINT
            share, rounded = self.share[:, : len(weights)], self.rounded[:, : len(weights)]
            torch.mul(probabilities[:, strip], weights, out=share)
            place[:, strip] += rounded.copy_(share.round_())

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
            valid=copy_to_pages(valid[:height, :width]),
            top=self.top,
            left=self.left,
            below=copy_to_pages(rest[:, :, :width]),
            right=self.right,
            corner=copy_to_pages(rest[:, :, width:]),
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
        rows = _STRIP if sums.device.type == "cpu" else sums.shape[1]
        for strip in torch.split(sums, rows, 1):
            self._write_strip(strip, first)
            first += strip.shape[1]

    def _write_strip(self, sums: torch.Tensor, first: int) -> None:
        rows, width = slice(first, first + sums.shape[1]), self.horizontal.core
        for layer, values in self.encoding.finalise(sums[:, :, :width]).items():
            self.layers[layer][..., rows, :] = values
        numbers = sums.cpu().numpy()
        self.left[:, rows] = numbers[:, :, : self.left.shape[2]]
        self.right[:, rows] = numbers[:, :, width:]
        shared = max(0, self.top.shape[1] - first)
        self.top[:, rows] = numbers[:, :shared, :width]


def _mirrored(chunk: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Continue a chunk past its last row and column by mirroring; `numpy.pad` copies it thrice."""
    _, height, width = chunk.shape
    rows, columns = (
        np.pad(np.arange(side), (0, more), "reflect")
        for side, more in zip(chunk.shape[1:], padding, strict=True)
    )
    padded = empty_pages((len(chunk), len(rows), len(columns)), chunk.dtype)
    padded[:, :height, :width] = chunk
    padded[:, height:, :width] = chunk[:, rows[height:]]
    padded[:, :, width:] = padded[:, :, columns[width:]]
    return padded


def _span_weights(span: WindowSpan, blending: TaperKind) -> np.ndarray:
    profile = taper(blending, span.axis.window, span.axis.overlap)
    indices = range(span.first, span.first + span.count)
    return np.stack([window_weights(span.axis, index, profile) for index in indices])
