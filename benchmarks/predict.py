"""Prediction from GeoTIFF to map, against its floor, two libraries' sliding windows and scripts.

Each case runs in a process of its own, so that its peak memory is its own, and all cases of one
round run one after the other, so that ratios compare times of the same minutes. The floor runs in
the precision of ours, and so do the libraries; scripts know float32 only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness import Measured, argument_parser, emit, measure
from predict_cases import CASES
from predict_setup import Setup

if TYPE_CHECKING:
    import argparse

# The second is of the network as ours makes it ready, with its batch norms folded.
FLOORS = {"floor": ("forward", "read", "write"), "prepared_floor": ("prepared", "read", "write")}
LIBRARIES = ("monai", "terratorch")
PEERS = (*LIBRARIES, "scripts")
JOBS = ("job", "job_1_process", "job_2_processes")
_CASES_SCRIPT = Path(__file__).with_name("predict_cases.py")


def main() -> None:
    arguments = parse_arguments()
    size = arguments.size or (768 if arguments.quick else 10980)
    window, encoder = (256, "resnet18") if arguments.quick else (512, "resnet34")
    if size < window:
        raise SystemExit(f"--size must be at least {window}, one window, got {size}")
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    cases = arguments.cases or [name for name in CASES if name != "prepare"]
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(folder, size, window, encoder, arguments.precision or default_precision())
        describe(setup, repeats)
        compare(setup, [case for case in cases if is_there(case)], repeats)


def default_precision() -> str:
    """What ``precision="auto"`` takes here, asked in a process of its own."""
    code = (
        "from seg4eo_xr.inference.hardware import this_machine\n"
        "from seg4eo_xr.inference.precision import resolve_precision\n"
        "print(resolve_precision('auto', this_machine('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def is_there(case: str) -> bool:
    """Whether what a case needs is installed; say so if not."""
    if case not in LIBRARIES or find_spec(case) is not None:
        return True
    emit("predict", case, "skipped", f"{case} is not installed: pip install {case}", "")
    return False


def compare(setup: Setup, cases: list[str], repeats: int) -> None:
    """Measure the cases in rounds and print what came out."""
    measure(_CASES_SCRIPT, setup, "prepare")
    measured: dict[str, list[Measured]] = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            measured[case].append(measure(_CASES_SCRIPT, setup, case))
    for case, rounds in measured.items():
        report_case(case, rounds)
    report_ratios(measured)


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
        case: [r.fastest for r in rounds] for case, rounds in measured.items() if case != "baseline"
    }
    for floor, parts in FLOORS.items():
        if set(parts) <= set(seconds):
            seconds[floor] = [sum(s) for s in zip(*(seconds[case] for case in parts), strict=True)]
            emit("predict", floor, "seconds", median(seconds[floor]), "s")
    if "ours" not in seconds:
        return
    if "baseline" in measured:
        above = [
            own.peak_mb - bare.peak_mb
            for own, bare in zip(measured["ours"], measured["baseline"], strict=True)
        ]
        emit("predict", "ours", "peak_mb_above_torch", median(above), "MB")
    for name in (*FLOORS, *PEERS, *JOBS):
        if name in seconds:
            ratios = [a / b for a, b in zip(seconds["ours"], seconds[name], strict=True)]
            emit("predict", "ours", f"ours/{name}", median(ratios), "1")


def describe(setup: Setup, repeats: int) -> None:
    """Print what is measured on what."""
    what = f"unet/{setup.encoder}, {setup.precision}"
    emit("predict", what, "size", setup.size, "px")
    emit("predict", what, "window", setup.window, "px")
    emit("predict", what, "windows", setup.windows, "1")
    emit("predict", "machine", "cores", os.cpu_count() or 1, "1")
    emit("predict", "machine", "rounds", repeats, "1")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--size", type=int, help="side of the scene in pixels")
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), help="only these, in this order")
    return parser.parse_args()


if __name__ == "__main__":
    main()
