from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import toy_training
from toy_training import noted_batches, tiny_network

from seg4eo_xr.cli import main
from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training.config import TrainConfig, TrainingWarning
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.resuming import StateSaver

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lightning.pytorch as pl

    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.training.folder import RunFolder

# Four epochs of three steps, in which everything happens that could be forgotten.
CONFIG = TrainConfig(
    pretrained=False,
    epochs=4,
    batch_size=8,
    learning_rate=2e-2,
    warmup_epochs=1,
    freeze_encoder=True,
    freeze_epochs=2,
    patience=3,
    device="cpu",
    save_every=0,
)
# Two of them, which leave the encoder an epoch to be trained in.
SHORT = replace(CONFIG, epochs=2, freeze_epochs=1)
STATE = "training_state.ckpt"
pytestmark = pytest.mark.filterwarnings("ignore:the encoder starts from random weights")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the process that is killed: sums of several threads have other last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights_of(run: RunFolder) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run.final_path).state_dict)


def require_equal(run: RunFolder, other: RunFolder) -> None:
    first, second = weights_of(run), weights_of(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert run.log_path.read_text() == other.log_path.read_text()
    for path in ("best_iou_path", "best_loss_path"):
        one, two = (load_checkpoint(getattr(folder, path)) for folder in (run, other))
        assert one.metrics == two.metrics


@pytest.mark.parametrize("scheduler_type", ["reduce_plateau", "cosine", "one_cycle"])
def test_a_training_resumed_from_any_state_ends_as_one_that_ran_through(
    patches: PatchStore, tmp_path: Path, scheduler_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, scheduler_type=scheduler_type)  # type: ignore[arg-type]
    save = StateSaver._save
    copies = []

    def copy_too(self: StateSaver, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        copies.append(tmp_path / f"{len(copies):02d}")
        shutil.copytree(self.folder.save_dir, copies[-1])

    with tiny_network():
        with monkeypatch.context() as patch, noted_batches() as seen:
            patch.setattr(StateSaver, "_save", copy_too)
            whole = train(patches, tmp_path / "whole", config, progress=False)
        assert len(copies) == 4 * 3
        for number in (1, 5, 11):  # in mid-epoch, at the beginning of an epoch and at the end
            with noted_batches() as after:
                resumed = train(patches, copies[number], config, progress=False, resume=True)
            assert after == seen[number + 1 :]
            require_equal(whole, resumed)


def test_a_killed_training_goes_on_where_it_was(patches: PatchStore, tmp_path: Path) -> None:
    script = Path(toy_training.__file__)
    options = json.dumps(CONFIG.to_dict())
    command = [sys.executable, script, str(patches.path), tmp_path / "run", options, "random", "7"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (tmp_path / "run" / STATE).exists()
    with pytest.raises(FileExistsError, match=r"holds another run.*--resume"):
        train(patches, tmp_path / "run", CONFIG, progress=False)
    with tiny_network():
        with noted_batches() as after:
            resumed = train(patches, tmp_path / "run", CONFIG, progress=False, resume=True)
        with noted_batches() as seen:
            whole = train(patches, tmp_path / "whole", CONFIG, progress=False)
    assert after == seen[7:]
    require_equal(whole, resumed)
    left = {file.name for file in resumed.save_dir.iterdir()}
    assert left == {file.name for file in resumed.files} | {STATE}


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_the_command_with_its_status_and_a_note(
    patches: PatchStore, tmp_path: Path, name: str, status: int
) -> None:
    words = ["train", "--dataset_root", str(patches.path), "--save_dir", str(tmp_path / "run")]
    words += [
        "--no_pretrained",
        "--epochs",
        "3",
        "--batch_size",
        "8",
        "--device",
        "cpu",
        "--learning_rate",
        "0.02",
    ]
    script = [sys.executable, toy_training.__file__, "--command"]
    done = subprocess.run([*script, "4", name, *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    told = done.stderr.splitlines()
    assert told[-2] == {"SIGTERM": "terminated", "SIGINT": "interrupted"}[name]
    assert "holds the training so far: go on with resume=True (--resume)" in told[-1]
    assert "Traceback" not in done.stderr
    again = [*script, "1000", name, *words, "--resume"]
    assert subprocess.run(again, capture_output=True, check=False).returncode == 0
    done_in_one = TrainConfig(
        pretrained=False, epochs=3, batch_size=8, device="cpu", learning_rate=2e-2
    )
    with tiny_network():
        whole = train(patches, tmp_path / "whole", done_in_one, progress=False)
    assert whole.log_path.read_text() == (tmp_path / "run" / whole.log_path.name).read_text()


@pytest.mark.parametrize("own_handler", [False, True])
def test_sigterm_comes_out_of_train_as_an_interrupt(
    patches: PatchStore, tmp_path: Path, own_handler: bool
) -> None:
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)

    before = signal.getsignal(signal.SIGTERM)
    if own_handler:
        signal.signal(signal.SIGTERM, hear)
    try:
        expected = signal.getsignal(signal.SIGTERM)
        with (
            tiny_network(),
            noted_batches(4, signal.SIGTERM),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            train(patches, tmp_path / "run", CONFIG, progress=False)
        assert signal.getsignal(signal.SIGTERM) is expected
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "--resume" in caught.value.__notes__[0]
    assert heard == ([signal.SIGTERM] if own_handler else [])


def test_resuming_where_there_is_nothing_begins_and_a_finished_run_is_given_back(
    patches: PatchStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=2, freeze_encoder=False)
    with tiny_network():
        with pytest.warns(TrainingWarning, match="there is no run in .*: begun anew"):
            first = train(patches, tmp_path / "run", config, progress=False, resume=True)
        times = [file.stat().st_mtime_ns for file in first.files]
        again = train(patches, tmp_path / "run", config, progress=False, resume=True)
    assert [file.stat().st_mtime_ns for file in again.files] == times
    assert again.metrics == first.metrics
    with pytest.raises(ValueError, match="random_seed was 42 and is 1"):
        train(
            patches, tmp_path / "run", replace(config, random_seed=1), progress=False, resume=True
        )


@pytest.fixture
def stopped(patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training that was interrupted in its first epoch."""

    def fail(self: StateSaver, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    save = StateSaver._save
    with monkeypatch.context() as patch, tiny_network():
        patch.setattr(StateSaver, "_save", fail)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(patches, tmp_path / "stopped", CONFIG, progress=False)
    assert "go on with resume=True (--resume)" in caught.value.__notes__[0]
    return tmp_path / "stopped"


def test_a_resumed_training_keeps_its_options(patches: PatchStore, stopped: Path) -> None:
    config = replace(CONFIG, learning_rate=1e-3, threads=1)
    with pytest.raises(
        ValueError, match=r"learning_rate was 0.02 and is 0.001; give those"
    ) as info:
        train(patches, stopped, config, progress=False, resume=True)
    assert "threads" not in str(info.value)
    with pytest.raises(ValueError, match="choose one of them"):
        train(patches, stopped, CONFIG, progress=False, resume=True, overwrite=True)


def test_a_resumed_training_takes_the_options_of_its_run(
    patches: PatchStore, stopped: Path
) -> None:
    with tiny_network():
        run = train(patches, stopped, progress=False, resume=True, threads=1)
        whole = train(patches, stopped.with_name("whole"), CONFIG, progress=False)
    require_equal(whole, run)
    # a finished run is given back whatever the defaults are
    assert train(patches, stopped, progress=False, resume=True).metrics == run.metrics


def test_a_command_resumes_a_run_without_its_options(
    patches: PatchStore, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--resume", "--save_dir", str(stopped)]
    assert main([*words, "--learning_rate", "0.5"]) == 2
    assert "learning_rate was 0.02 and is 0.5" in capsys.readouterr().err
    with tiny_network():
        assert main(words) == 0
        assert main(words) == 0
    assert len((stopped / "model_training_log.csv").read_text().splitlines()) == 1 + CONFIG.epochs
    assert main(["train", "--resume", "--save_dir", str(stopped.with_name("none"))]) == 2
    assert "none holds no training to resume" in capsys.readouterr().err


def test_a_resumed_training_can_have_more_epochs(patches: PatchStore, stopped: Path) -> None:
    with tiny_network():
        longer = train(patches, stopped, progress=False, resume=True, epochs=6, patience=3)
        whole = train(
            patches, stopped.with_name("whole"), replace(CONFIG, epochs=6), progress=False
        )
    require_equal(whole, longer)


def test_no_run_gets_fewer_epochs(patches: PatchStore, stopped: Path) -> None:
    with pytest.raises(ValueError, match="epochs was 4 and is 3"):
        train(patches, stopped, progress=False, resume=True, epochs=3)


def test_a_finished_training_can_have_more_epochs(
    patches: PatchStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tiny_network():
        whole = train(patches, tmp_path / "whole", replace(SHORT, epochs=5), progress=False)
        run = train(patches, tmp_path / "run", SHORT, progress=False)
        longer = train(patches, run.save_dir, progress=False, resume=True, epochs=3)
        with noted_batches() as seen:
            assert (
                main(["train", "--resume", "--save_dir", str(run.save_dir), "--epochs", "5"]) == 0
            )
    assert len(seen) == 2 * 3
    require_equal(whole, longer)
    assert json.loads(run.metrics_path.read_text())["config"]["epochs"] == 5


def test_a_finished_training_that_is_stopped_again_goes_on_to_its_new_end(
    patches: PatchStore, tmp_path: Path
) -> None:
    with tiny_network():
        whole = train(patches, tmp_path / "whole", replace(SHORT, epochs=4), progress=False)
        run = train(patches, tmp_path / "run", SHORT, progress=False)
        config = replace(SHORT, epochs=4, save_every=10_000)
        with noted_batches(7, signal.SIGTERM), pytest.raises(KeyboardInterrupt):
            train(patches, run.save_dir, config, progress=False, resume=True)
        assert not run.is_finished
        require_equal(whole, train(patches, run.save_dir, progress=False, resume=True))


@pytest.mark.parametrize("scheduler_type", ["cosine", "one_cycle"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_rate_laid_out_over_all_epochs_keeps_their_number(
    patches: PatchStore, tmp_path: Path, scheduler_type: str, finished: bool
) -> None:
    config = replace(SHORT, scheduler_type=scheduler_type)  # type: ignore[arg-type]
    told = f"cannot have 3 epochs: with scheduler_type '{scheduler_type}' .* 2 epochs .*--overwrite"
    with tiny_network():
        if finished:
            train(patches, tmp_path / "run", config, progress=False)
        else:
            with noted_batches(4, signal.SIGTERM), pytest.raises(KeyboardInterrupt):
                train(patches, tmp_path / "run", config, progress=False)
        with pytest.raises(ValueError, match=told):
            train(patches, tmp_path / "run", progress=False, resume=True, epochs=3)


def test_a_run_that_keeps_no_state_gets_no_more_epochs(patches: PatchStore, tmp_path: Path) -> None:
    with tiny_network():
        run = train(patches, tmp_path / "run", SHORT, progress=False)
        run.state_path.unlink()
        with pytest.raises(ValueError, match=f"cannot have more epochs: there is no {STATE}"):
            train(patches, run.save_dir, progress=False, resume=True, epochs=3)
        assert train(patches, run.save_dir, progress=False, resume=True).metrics == run.metrics


@pytest.fixture
def stopped_early(patches: PatchStore, tmp_path: Path) -> RunFolder:
    """A training that stopped early, since its validation loss became worse."""
    config = replace(CONFIG, epochs=12, patience=1, learning_rate=0.5, freeze_encoder=False)
    with tiny_network():
        run = train(patches, tmp_path / "early", config, progress=False)
    assert len(run.log_path.read_text().splitlines()) < 1 + 12
    return run


def test_a_training_that_stopped_early_goes_on_with_more_patience(
    patches: PatchStore, stopped_early: RunFolder, tmp_path: Path
) -> None:
    run, done = stopped_early, len(stopped_early.log_path.read_text().splitlines()) - 1
    told = f"stopped early, after epoch {done}: .* not better for 1 epochs .*above 1 .*--patience"
    with tiny_network():
        assert train(patches, run.save_dir, progress=False, resume=True).metrics == run.metrics
        with pytest.raises(ValueError, match=told):
            train(patches, run.save_dir, progress=False, resume=True, epochs=20)
        longer = train(patches, run.save_dir, progress=False, resume=True, patience=2)
        config = TrainConfig.from_dict(load_checkpoint(longer.final_path).config)
        assert config.patience == 2
        whole = train(patches, tmp_path / "whole", config, progress=False)
    assert len(longer.log_path.read_text().splitlines()) > 1 + done
    require_equal(whole, longer)


def test_a_training_that_stopped_early_is_not_trained_on_after_a_kill(
    patches: PatchStore, stopped_early: RunFolder
) -> None:
    log = stopped_early.log_path.read_text()
    stopped_early.metrics_path.unlink()  # killed while it was scored
    with tiny_network(), noted_batches() as seen:
        run = train(patches, stopped_early.save_dir, progress=False, resume=True)
    assert not seen
    assert run.is_finished
    assert run.log_path.read_text() == log


def test_a_damaged_state_is_refused(patches: PatchStore, stopped: Path) -> None:
    state = stopped / STATE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"no state of a training, or is damaged.*--overwrite"):
        train(patches, stopped, CONFIG, progress=False, resume=True)


def test_without_the_time_for_more_each_epoch_leaves_a_state(
    patches: PatchStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=3, save_every=10_000)
    saved = []

    class Spy(StateSaver):
        def on_save_checkpoint(self, trainer: pl.Trainer, *_: object) -> None:
            saved.append((trainer.current_epoch, trainer.global_step))

    with tiny_network(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("seg4eo_xr.training.fit.StateSaver", Spy)
        train(patches, tmp_path / "run", config, progress=False)
    assert saved == [(1, 3), (2, 6), (3, 9)]


def test_a_run_without_a_state_begins_anew_and_says_so(patches: PatchStore, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model_training_log.csv").write_text("epoch\n")
    with tiny_network(), pytest.warns(TrainingWarning, match="no state to go on from: begun anew"):
        train(patches, tmp_path / "run", replace(CONFIG, epochs=3), progress=False, resume=True)
