"""A map held against another of the same size, by the time of reading both once.

Reading and evaluating take turns in one process, with the same readers and threads, so that ratios
compare times of the same minutes.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

from evaluate_cases import SUFFIXES, Setup
from harness import Measured, argument_parser, emit, measure

_CASES_SCRIPT = Path(__file__).with_name("evaluate_cases.py")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--size", type=int, help="side of the maps in pixels")
    arguments = parser.parse_args()
    size = arguments.size or (4096 if arguments.quick else 20_000)
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    emit("evaluate", "two maps, uint8, 8 classes", "size", size, "px")
    emit("evaluate", "machine", "cores", os.cpu_count() or 1, "1")
    emit("evaluate", "machine", "rounds", repeats, "1")
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(folder, size)
        measure(_CASES_SCRIPT, setup, "prepare")
        report([measure(_CASES_SCRIPT, setup, "compare") for _ in range(repeats)])


def report(rounds: list[Measured]) -> None:
    """Print the medians over the rounds, ratios last."""
    for case in rounds[0].seconds:
        emit("evaluate", case, "seconds", median(r.seconds[case] for r in rounds), "s")
    emit("evaluate", "both formats", "peak_mb", median(r.peak_mb for r in rounds), "MB")
    for form in SUFFIXES:
        ratios = [r.seconds[f"ours, {form}"] / r.seconds[f"read, {form}"] for r in rounds]
        emit("evaluate", form, "ours/read", median(ratios), "1")


if __name__ == "__main__":
    main()
