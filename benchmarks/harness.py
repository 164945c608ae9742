"""What the benchmarks share: cases in processes of their own, and JSON lines."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def emit(benchmark: str, case: str, measure: str, value: float | str, unit: str) -> None:
    """Print one measurement as a line of JSON; numbers are cut to four significant digits."""
    if isinstance(value, float):
        value = float(f"{value:.4g}")
    line = {"benchmark": benchmark, "case": case, "measure": measure, "value": value, "unit": unit}
    print(json.dumps(line), flush=True)


def seconds_of(work: Callable[[], object]) -> float:
    """Run `work` once and say how many seconds it took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_megabytes() -> float:
    """Most memory that this process has held so far, in MB of 10⁶ bytes."""
    if sys.platform == "linux":
        # Not `ru_maxrss`, which a child takes over from the process that starts it.
        (peak,) = (
            int(line.split()[1]) * 1024
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        )
        return peak / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def run_in_child(script: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a script in a fresh process and return what it answered through `answer`.

    Parameters
    ----------
    script
        What to run; its warnings and errors appear on this process's standard error.
    arguments
        Its command line.

    Returns
    -------
    dict
        The mapping given to `answer`, and ``peak_mb``, the child's peak memory in MB.

    Raises
    ------
    RuntimeError
        If the child fails.
    """
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of what every benchmark takes, described by the first line of its docstring."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, within a minute")
    parser.add_argument("--repeats", type=int, help="rounds; medians over them are printed")
    return parser


@dataclass(frozen=True)
class Measured:
    """One case in one round."""

    seconds: dict[str, float]
    peak_mb: float

    @property
    def fastest(self) -> float:
        """Seconds of the fastest way."""
        return min(self.seconds.values())


def measure(script: Path, setup: Any, case: str) -> Measured:
    """Run one case of a script in a process of its own; `setup` is a dataclass of plain values."""
    child = run_in_child(script, [case, json.dumps(asdict(setup))])
    return Measured(child["seconds"], child["peak_mb"])


def answer(result: Mapping[str, object]) -> None:
    """Answer from within a child: print the result, with the peak memory up to here."""
    print(json.dumps({**result, "peak_mb": peak_megabytes()}), flush=True)
