from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.naming import baseline_of_name, date_of_name


@given(st.dates(min_value=np.datetime64("1970-01-01").item()), st.sampled_from(["", "-", "_"]))
def test_a_date_is_found_however_it_is_written(date, mark):
    written = date.strftime(f"%Y{mark}%m{mark}%d")
    for name in (f"S2A_{written}.tif", f"{written}/B04.tif", f"x_{written}T000000_B02_10m.jp2"):
        found = date_of_name(name)
        assert (found is not None) == (1900 <= date.year <= 2099)
        assert found is None or found.item().date() == date


@pytest.mark.parametrize(
    "name", ["scene.tif", "20210231.tif", "20211301.tif", "120210603.tif", "2021-0603.tif", ""]
)
def test_numbers_that_are_no_dates(name):
    assert date_of_name(name) is None


def test_the_file_comes_before_its_folders():
    assert date_of_name("2020-01-01/2021-06-03/x_20220101.tif") == np.datetime64("2022-01-01")
    assert date_of_name("2020-01-01/2021-06-03/x.tif") == np.datetime64("2021-06-03")


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("S2A_MSIL2A_20210603T101031_N0300_R022_T33UUP_20210603T120000.SAFE", 3.0),
        ("S2A_MSIL1C_20240603T101031_N0510_R022_T33UUP_20240603T120000", 5.1),
        ("S2A_MSIL2A_X_N0214_R022.SAFE/GRANULE/L2A/IMG_DATA/B02.jp2", 2.14),
        ("S2A_N0511.zip", 5.11),
        ("T33UUP_20210603T101031_B02.jp2", None),
        ("AN0400_scene.tif", None),
        ("N04001.tif", None),
    ],
)
def test_the_processing_baseline_of_a_product(name, baseline):
    assert baseline_of_name(name) == baseline
