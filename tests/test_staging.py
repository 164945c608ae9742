from __future__ import annotations

from pathlib import Path

import pytest

from seg4eo_xr.staging import commit, staging


def test_only_a_commit_reaches_the_final_path(tmp_path):
    target = tmp_path / "map.tif"
    with staging(target, overwrite=False) as folder:
        (folder / "finished").write_text("new")
        assert not target.exists()
        commit(folder / "finished", target)
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "map.tif"
    target.write_text("old")

    def fail() -> None:
        with staging(target, overwrite=True) as folder:
            (folder / "finished").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "map.zarr"
    target.mkdir()
    (target / "old").touch()
    with staging(target, overwrite=True) as folder:
        (folder / "store").mkdir()
        (folder / "store" / "new").touch()
        commit(folder / "store", target)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_outputs_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(FileExistsError, match="overwrite=True"),
        staging(tmp_path / "file", overwrite=False),
    ):
        pass
    for missing in (tmp_path / "none" / "map.tif", tmp_path / "file" / "map.tif"):
        with pytest.raises(FileNotFoundError, match="create it"), staging(missing, overwrite=True):
            pass


def test_a_folder_without_leave_to_write_is_refused(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with (
        pytest.raises(PermissionError, match=r"map\.tif: Permission denied; choose"),
        staging(tmp_path / "map.tif", overwrite=False),
    ):
        pass


def test_a_folder_comes_back_where_another_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "map.zarr"
    target.mkdir()
    (target / "old").touch()

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", fail)
    with staging(target, overwrite=True) as folder:
        (folder / "store").mkdir()
        with pytest.raises(OSError, match="no"):
            commit(folder / "store", target)
    assert [file.name for file in target.iterdir()] == ["old"]
