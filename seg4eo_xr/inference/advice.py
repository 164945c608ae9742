"""What would make a prediction faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg4eo_xr.inference.hardware import this_machine
from seg4eo_xr.inference.symmetries import SYMMETRIES

if TYPE_CHECKING:
    from seg4eo_xr.inference.window_runner import WindowRunner

MANY_WINDOWS = 500
"""Windows from which on a scene is worth compiling the network for, and sharing among machines."""


def speed_advice(runner: WindowRunner) -> tuple[str, ...]:
    """Tell what would make a prediction faster, the greatest gain first.

    Parameters
    ----------
    runner
        The kernel, as `make_runner` makes it.

    Returns
    -------
    tuple of str
        A clause each.
    """
    network = runner.network
    on_processor = network.device == "cpu"
    here = this_machine("cpu") if on_processor else None
    vertical, horizontal = (spans[0].axis for spans in runner.spans)
    many = vertical.count * horizontal.count >= MANY_WINDOWS
    quarter = vertical.window // 4
    share = (vertical.stride / (vertical.window - quarter)) ** 2
    advice = {
        f"without --tta each window runs once instead of {SYMMETRIES} times": network.tta,
        "an accelerator (--device cuda) is many times as fast": on_processor,
        "--precision auto takes bfloat16, at which this machine is fast": (
            network.precision == "float32" and here is not None and "bfloat16" in here.fast_formats
        ),
        f"--overlap {quarter} leaves {share:.0%} of the windows": vertical.overlap > quarter,
        "--compile pays for so many windows": (
            many and not network.compile and (here is None or here.compiler)
        ),
        "--scheduler shares the tiles among the machines of a dask cluster": many,
    }
    return tuple(text for text, holds in advice.items() if holds)
