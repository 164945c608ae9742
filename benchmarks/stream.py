"""Reading batches of patches in random order: ours, its peers, and reading raw bytes.

The patches are the same, and the page cache is warm. Each case runs in a process of its own, and
all cases of one round run one after the other, so that ratios compare rates of the same minutes.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness import argument_parser, emit, run_in_child
from stream_cases import BANDS, CASES, Setup

if TYPE_CHECKING:
    import argparse

_CASES_SCRIPT = Path(__file__).with_name("stream_cases.py")

# Patches a second of one case in one round, by the way of running it.
Rates = dict[str, float]


def measure(setup: Setup, case: str) -> Rates:
    """Run one case in a process of its own."""
    seconds = run_in_child(_CASES_SCRIPT, [case, json.dumps(asdict(setup))])["seconds"]
    return {way: setup.patches / taken for way, taken in seconds.items()}


def main() -> None:
    arguments = parse_arguments()
    patches, side = (128, 128) if arguments.quick else (1024, 256)
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        compare(Setup(folder, patches, side, batch_size=16), repeats)


def compare(setup: Setup, repeats: int) -> None:
    """Measure the cases in rounds and print what came out."""
    describe(setup, repeats)
    measure(setup, "prepare")
    cases = [case for case in CASES if case != "prepare"]
    if find_spec("xbatcher") is None:
        cases.remove("xbatcher")
        emit("stream", "xbatcher", "skipped", "xbatcher is not installed: pip install xbatcher", "")
    measured: dict[str, list[Rates]] = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            measured[case].append(measure(setup, case))
    for case, rounds in measured.items():
        for way in rounds[0]:
            rate = median(rates[way] for rates in rounds)
            emit("stream", f"{case}, {way}", "rate", rate, "samples/s")
    report_ratios(measured)


def report_ratios(measured: dict[str, list[Rates]]) -> None:
    """Print the rate of our fastest way by every other, each the median over the rounds."""
    fastest = [max(rates.values()) for rates in measured["ours"]]
    for case, rounds in measured.items():
        if case == "ours":
            continue
        for way in rounds[0]:
            ratio = median(a / rates[way] for a, rates in zip(fastest, rounds, strict=True))
            emit("stream", f"{case}, {way}", f"ours/{case}", ratio, "1")


def describe(setup: Setup, repeats: int) -> None:
    """Print what is measured on what."""
    what = f"{BANDS} bands of uint16, labels of uint8"
    emit("stream", what, "patches", setup.patches, "1")
    emit("stream", what, "patch_size", setup.patch_size, "px")
    emit("stream", what, "batch_size", setup.batch_size, "1")
    emit("stream", "GeoTIFFs", "compression", "lzw", "")
    emit("stream", "machine", "cores", os.cpu_count() or 1, "1")
    emit("stream", "machine", "rounds", repeats, "1")


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--folder", help="where 3 GB of files may lie for the time of the run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
