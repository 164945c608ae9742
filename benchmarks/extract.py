"""Extraction from GeoTIFFs to a patch store, against its floor and against a GeoTIFF a patch.

Each case runs in a process of its own, so that its peak memory is its own, and all cases of one
round run one after the other, so that ratios compare times of the same minutes. A large scene tells
whether memory grows with the scene.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from extract_cases import COMPRESSIONS, Setup
from harness import Measured, argument_parser, emit, measure

if TYPE_CHECKING:
    import argparse

CASES = ("baseline", "read", "ours", "write", "write_raw", "scripts")
FLOOR = ("read", "write")
PATCH_SIZE = 256
LARGE = 16384
_CASES_SCRIPT = Path(__file__).with_name("extract_cases.py")


def main() -> None:
    arguments = parse_arguments()
    size = arguments.size or (1024 if arguments.quick else 4096)
    if size < PATCH_SIZE or size % PATCH_SIZE:
        raise SystemExit(f"--size must be a multiple of {PATCH_SIZE}, one patch, got {size}")
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    describe(size, repeats)
    with tempfile.TemporaryDirectory() as folder:
        measured = {}
        for compression in COMPRESSIONS:
            setup = Setup(folder, size, PATCH_SIZE, compression)
            measured[compression] = compare(setup, repeats)
            report_cases(compression, measured[compression])
        peaks = None if arguments.quick else compare_peaks(folder, size, measured)
    for compression, rounds in measured.items():
        report_ratios(compression, rounds)
    if peaks is not None:
        emit("extract", "ours, deflate", f"peak_mb {LARGE} px/{size} px", peaks, "1")


def compare(setup: Setup, repeats: int) -> dict[str, list[Measured]]:
    """Measure the cases in rounds."""
    measure(_CASES_SCRIPT, setup, "prepare")
    measured: dict[str, list[Measured]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case in CASES:
            measured[case].append(measure(_CASES_SCRIPT, setup, case))
    return measured


def compare_peaks(folder: str, size: int, measured: dict[str, dict[str, list[Measured]]]) -> float:
    """Extract a large scene once, and return its peak memory by that of the other scene."""
    usual = median(r.peak_mb for r in measured["deflate"]["ours"])
    setup = Setup(folder, LARGE, PATCH_SIZE, "deflate", seed_size=size)
    measure(_CASES_SCRIPT, setup, "prepare")
    large = measure(_CASES_SCRIPT, setup, "ours")
    report_cases("deflate", {f"ours, {LARGE} px": [large]})
    return large.peak_mb / usual


def report_cases(compression: str, measured: dict[str, list[Measured]]) -> None:
    """Print the medians of each case: of every way if there are several, then of the fastest."""
    for name, rounds in measured.items():
        case = f"{name}, {compression}"
        ways = {way: median(r.seconds[way] for r in rounds) for way in rounds[0].seconds}
        if len(ways) > 1:
            for way, seconds in ways.items():
                emit("extract", f"{case}: {way}", "seconds", seconds, "s")
        if ways:
            emit("extract", case, "seconds", min(ways.values()), "s")
        emit("extract", case, "peak_mb", median(r.peak_mb for r in rounds), "MB")


def report_ratios(compression: str, measured: dict[str, list[Measured]]) -> None:
    """Print ratios of seconds, each the median over the rounds."""
    seconds = {
        case: [r.fastest for r in rounds] for case, rounds in measured.items() if case != "baseline"
    }
    floor = [sum(parts) for parts in zip(*(seconds[case] for case in FLOOR), strict=True)]
    pairs = {
        "scripts/ours": (seconds["scripts"], seconds["ours"]),
        "ours/floor": (seconds["ours"], floor),
    }
    for name, (above, below) in pairs.items():
        ratio = median(a / b for a, b in zip(above, below, strict=True))
        emit("extract", f"ours, {compression}", name, ratio, "1")


def describe(size: int, repeats: int) -> None:
    """Print what is measured on what."""
    emit("extract", "10 bands of uint16, labels of uint8", "size", size, "px")
    emit("extract", "10 bands of uint16, labels of uint8", "patch_size", PATCH_SIZE, "px")
    emit("extract", "files", "tiles", "512 px; deflate with predictor 2, or uncompressed", "")
    emit("extract", "machine", "cores", os.cpu_count() or 1, "1")
    emit("extract", "machine", "rounds", repeats, "1")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--size", type=int, help="side of the scene in pixels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
