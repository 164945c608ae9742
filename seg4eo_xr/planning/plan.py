"""What a prediction will cost, as a readable object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes, format_time

from seg4eo_xr.html import card_html, lines_html, table_html, table_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg4eo_xr.planning.costs import Rates, Work
    from seg4eo_xr.planning.memory import Memory

_WAYS = ("", "lazily", "as a job")


@dataclass(frozen=True)
class WayCost:
    """What one way of predicting a scene costs.

    Parameters
    ----------
    work
        What is done.
    memory
        Most memory of one machine.
    seconds
        Time of the run; None without calibration.
    stored_bytes
        Size of the map's Zarr store; None without calibration.
    machine_hours
        Time of all machines together, in hours; of accelerators, where these run the network.
    """

    work: Work
    memory: Memory
    seconds: float | None
    stored_bytes: int | None
    machine_hours: float | None


@dataclass(frozen=True, repr=False)
class Plan:
    """What predicting a scene will cost, lazily and as a job.

    Parameters
    ----------
    shape
        Bands, height and width of what is read.
    window, overlap, batch_size
        In pixels, and windows a forward pass.
    precision, device
        What the network runs in, and where.
    machines
        Machines like this one that share the work.
    held_bytes
        What this process held already, which is part of either way's memory.
    lazy, job
        Costs of `predict` and of `predict_to_zarr`.
    rates
        What this machine was measured at; None without calibration.
    advice
        What would make it faster.
    data_from
        What the number of windows with data is estimated from; empty where all windows are taken to
        hold data.
    """

    shape: tuple[int, int, int]
    window: int
    overlap: int
    batch_size: int
    precision: str
    device: str
    machines: int
    held_bytes: int
    lazy: WayCost
    job: WayCost
    rates: Rates | None
    advice: tuple[str, ...] = ()
    data_from: str = ""

    def __repr__(self) -> str:
        table = table_text(_WAYS, self._rows())
        return "\n".join([*self._facts(), "", table, *self._faster()])

    def _repr_html_(self) -> str:
        title, *facts = self._facts()
        return card_html(
            title,
            "",
            lines_html(facts),
            table_html(_WAYS, self._rows()),
            lines_html(self._faster()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, fit for JSON."""
        return asdict(self)

    def _facts(self) -> list[str]:
        bands, height, width = self.shape
        shared = "this machine" if self.machines == 1 else f"{self.machines:,} machines like this"
        work = self.lazy.work
        estimated = [
            f"about {work.windows_with_data:,} of {work.windows:,} windows hold data (estimated "
            f"from {self.data_from}); the others are skipped"
        ]
        return [
            f"Plan for {bands} bands of {height:,} × {width:,} px",
            f"windows of {self.window} px, overlap {self.overlap}; batches of {self.batch_size}, "
            f"{self.precision}, {self.device}, {shared}",
            *(estimated if self.data_from else []),
        ]

    def _faster(self) -> list[str]:
        return [f"faster: {way}" for way in self.advice]

    def _rows(self) -> list[tuple[str, str, str]]:
        ways = (self.lazy, self.job)
        hours = "machine" if self.device == "cpu" else "accelerator"
        lines: list[tuple[str, list[str]]] = [
            ("windows", [f"{way.work.windows:,}" for way in ways]),
            ("windows with data", [f"{way.work.windows_with_data:,}" for way in ways]),
            ("forward passes", [f"{way.work.passes:,}" for way in ways]),
            ("chunks", [f"{way.work.chunks:,}" for way in ways]),
            ("tiles", [f"{way.work.tiles:,}" if way.work.tiles else "-" for way in ways]),
            ("tasks", [f"{way.work.tasks:,}" for way in ways]),
            ("read", [format_bytes(way.work.bytes_read) for way in ways]),
            ("written", [format_bytes(way.work.bytes_written) for way in ways]),
            ("stored", [_or_dash(way.stored_bytes, format_bytes) for way in ways]),
            ("memory", [format_bytes(way.memory.host_bytes) for way in ways]),
            ("memory of the device", [format_bytes(way.memory.device_bytes) for way in ways]),
            ("time", [_or_dash(way.seconds, format_time) for way in ways]),
            (f"{hours} hours", [_or_dash(way.machine_hours, "{:,.3g}".format) for way in ways]),
        ]
        return [(name, lazy, job) for name, (lazy, job) in lines if {lazy, job} != {"0 B"}]


def _or_dash(number: float | None, text: Callable[[Any], str]) -> str:
    return "-" if number is None else text(number)
