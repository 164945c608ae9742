"""Laws of what a job says it has done: the bar moves within a tile and ends at the last window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_jobs import make_files, run_job

from seg4eo_xr.geometry.tiles import tile_grid
from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.jobs.markers import TileRecord
from seg4eo_xr.jobs.tally import Tally
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.scenes.classes import ClassTable

GRID = tile_grid(
    WindowAxis(size=500, window=64, overlap=16),
    WindowAxis(size=300, window=64, overlap=16),
    tile_size=192,
    windows_per_chunk=2,
)
NOTHING = MapStatistics(ClassTable.from_codes([1]), (0,), (0,), 0)
RECORD = TileRecord("", 0, NOTHING.to_dict())


@given(st.data())
def test_a_bar_never_shows_more_than_there_is_and_ends_at_all(data):
    tiles = list(GRID)
    parts = [tile for tile in tiles for _ in range(3)]  # of halves: one of them is tried again
    events = data.draw(
        st.permutations([(tile, False) for tile in parts] + [(t, True) for t in tiles])
    )
    with Tally(GRID, "testing", progress=True) as tally:
        for tile, ended in events:
            if ended:
                before = tally.bar.n
                tally.add(tile, RECORD)
                assert tally.bar.n >= before
            else:
                tally.add_pixels(tile, GRID.pixels(tile) // 2)
            assert 0 <= tally.bar.n <= GRID.total_windows
        assert tally.bar.n == GRID.total_windows
        assert tally.done == len(GRID)


@pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")
@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize("workers", [None, 1])
def test_a_single_tile_is_heard_of_while_it_is_made(workers, tmp_path, monkeypatch):
    told, ended, add = [], [], Tally.add

    def add_tile(tally, tile, record):
        ended.append(len(told))
        add(tally, tile, record)

    monkeypatch.setattr(Tally, "add_pixels", lambda tally, tile, pixels: told.append(pixels))
    monkeypatch.setattr(Tally, "add", add_tile)
    folder = make_files(tmp_path)
    result = run_job(folder, tmp_path / "map.zarr", tile_size=8192, workers=workers, progress=True)
    assert result.tiles == 1
    assert len(told) > 1
    assert ended[0] > 0
    assert sum(told) <= 230 * 170
