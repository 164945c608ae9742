"""A job needs as much memory for a continent as for a county."""

from __future__ import annotations

import pytest
from peaks import last_line_of_child


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_scene_of_sixteen_times_the_area_takes_no_more_memory(tmp_path):
    def peak(side):
        code = "import sys, toy_memory; toy_memory.print_peak(int(sys.argv[1]), sys.argv[2])"
        return float(last_line_of_child(code, side, tmp_path / f"{side}.zarr"))

    small, large = peak(10_240), peak(40_960)
    print(f"peak memory {small:.0f} MB of 10240², {large:.0f} MB of 40960²: {large / small:.2f}")
    assert large <= 1.2 * small
