"""Prediction from GeoTIFF to COG, against its floor, MONAI's inferer and a plain loop.

Each case runs in a process of its own, so that its peak memory is its own, and all cases of one
round run one after the other, so that ratios compare times of the same minutes.
"""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness import Measured, argument_parser, emit, measure
from predict_cases import CASES, Setup

if TYPE_CHECKING:
    import argparse

FLOOR = ("forward", "read", "write")
PEERS = ("scripts", "monai", "monai_channels_last")
TIMED = {*FLOOR, *PEERS, "ours"}
_CASES_SCRIPT = Path(__file__).with_name("predict_cases.py")


def report_case(case: str, rounds: list[Measured]) -> None:
    """Print the medians of one case: of every way if there are several, then of the fastest."""
    ways = {way: median(r.seconds[way] for r in rounds) for way in rounds[0].seconds}
    if len(ways) > 1:
        for way, seconds in ways.items():
            emit("predict", f"{case}: {way}", "seconds", seconds, "s")
    if ways:
        emit("predict", case, "seconds", min(ways.values()), "s")
    emit("predict", case, "peak_mb", median(r.peak_mb for r in rounds), "MB")


def report_ratios(measured: dict[str, list[Measured]]) -> None:
    """Print seconds of ours by those of the others, each the median over the rounds."""
    seconds = {
        case: [r.fastest for r in rounds] for case, rounds in measured.items() if case in TIMED
    }
    floor = [sum(parts) for parts in zip(*(seconds[case] for case in FLOOR), strict=True)]
    emit("predict", "floor", "seconds", median(floor), "s")
    others = {"floor": floor, **{case: seconds[case] for case in PEERS if case in seconds}}
    for name, theirs in others.items():
        ratio = median(a / b for a, b in zip(seconds["ours"], theirs, strict=True))
        emit("predict", "ours", f"ours/{name}", ratio, "1")


def main() -> None:
    arguments = parse_arguments()
    size = arguments.size or (768 if arguments.quick else 4096)
    window, encoder = (256, "resnet18") if arguments.quick else (512, "resnet34")
    if size < window:
        raise SystemExit(f"--size must be at least {window}, one window, got {size}")
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    left_out = {"prepare", "monai_channels_last"} if arguments.quick else {"prepare"}
    with tempfile.TemporaryDirectory() as folder:
        cases = [case for case in CASES if case not in left_out]
        compare(Setup(folder, size, window, encoder), cases, repeats)


def compare(setup: Setup, cases: list[str], repeats: int) -> None:
    """Measure the cases in rounds and print what came out."""
    describe(setup, repeats)
    measure(_CASES_SCRIPT, setup, "prepare")
    if find_spec("monai") is None:
        cases = [case for case in cases if not case.startswith("monai")]
        emit("predict", "monai", "skipped", "monai is not installed: pip install monai", "")
    measured: dict[str, list[Measured]] = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            measured[case].append(measure(_CASES_SCRIPT, setup, case))
    for case, rounds in measured.items():
        report_case(case, rounds)
    report_ratios(measured)


def describe(setup: Setup, repeats: int) -> None:
    """Print what is measured on what."""
    emit("predict", f"unet/{setup.encoder}, float32", "size", setup.size, "px")
    emit("predict", f"unet/{setup.encoder}, float32", "window", setup.window, "px")
    emit("predict", f"unet/{setup.encoder}, float32", "windows", setup.windows, "1")
    emit("predict", "machine", "cores", os.cpu_count() or 1, "1")
    emit("predict", "machine", "rounds", repeats, "1")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--size", type=int, help="side of the scene in pixels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
