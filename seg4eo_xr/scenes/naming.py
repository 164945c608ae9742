"""What the names of satellite products tell: the date, and Sentinel-2's processing baseline."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
    r"(?:T([01]\d|2[0-3]):?([0-5]\d):?([0-5]\d))?(?!\d)"
)
_BASELINE = re.compile(r"(?<![A-Za-z0-9])N(\d\d)(\d\d)(?![A-Za-z0-9])")


def date_of_name(name: str | Path) -> np.datetime64 | None:
    """First date in a file's name, or else in that of the nearest folder with one.

    Examples
    --------
    >>> date_of_name("data/S2A_MSIL2A_20210603T101031_N0300_R022_T33UUP_B02.tif")
    np.datetime64('2021-06-03T10:10:31')
    >>> date_of_name("2021-06-13/B04.tif")
    np.datetime64('2021-06-13T00:00:00')
    >>> date_of_name("scene_12345678.tif") is None
    True
    """
    for part in reversed(Path(name).parts):
        for found in _DATE.finditer(part):
            year, _, month, day, *clock = found.groups()
            hour, minute, second = (number or "00" for number in clock)
            try:
                return np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second}", "s")
            except ValueError:  # as 31 February
                continue
    return None


def baseline_of_name(name: str | Path) -> float | None:
    """Processing baseline in a Sentinel-2 product's name, as 4.0 of ``N0400``.

    Examples
    --------
    >>> baseline_of_name("S2B_MSIL2A_20220301T101031_N0400_R022_T33UUP_20220301T120000.SAFE")
    4.0
    >>> baseline_of_name("scene.tif") is None
    True
    """
    for part in reversed(Path(name).parts):
        found = _BASELINE.search(part.replace("_", " "))
        if found:
            return float(f"{found[1]}.{found[2]}")
    return None
