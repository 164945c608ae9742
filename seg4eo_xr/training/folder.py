"""The folder of a training run: which files it leaves, and that no other run is lost by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The folder of a training run and the files in it.

    Parameters
    ----------
    save_dir
        The folder.
    """

    save_dir: Path

    @property
    def best_loss_path(self) -> Path:
        """Checkpoint of the epoch with the lowest validation loss."""
        return self.save_dir / "model_best_loss.pth"

    @property
    def best_iou_path(self) -> Path:
        """Checkpoint of the epoch with the highest validation mIoU."""
        return self.save_dir / "model_best_iou.pth"

    @property
    def final_path(self) -> Path:
        """Checkpoint of the last epoch."""
        return self.save_dir / "model_final.pth"

    @property
    def log_path(self) -> Path:
        """Table of the epochs, one row each."""
        return self.save_dir / "model_training_log.csv"

    @property
    def plot_path(self) -> Path:
        """Picture of loss, mIoU, learning rate and each class's IoU over the epochs."""
        return self.save_dir / "model_training_plot.png"

    @property
    def class_plot_path(self) -> Path:
        """Picture of each class's IoU, and of which classes are taken for which."""
        return self.save_dir / "model_per_class_iou.png"

    @property
    def metrics_path(self) -> Path:
        """All figures of the run, those of the test patches among them, as JSON; written last."""
        return self.save_dir / "model_metrics.json"

    @property
    def state_path(self) -> Path:
        """State from which the training goes on; without it a finished run gets no more epochs."""
        return self.save_dir / "training_state.ckpt"

    @property
    def state_part_path(self) -> Path:
        """Where a state is being written."""
        return self.save_dir / ".training_state.ckpt.part"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of a finished run."""
        return (
            self.best_loss_path,
            self.best_iou_path,
            self.final_path,
            self.log_path,
            self.plot_path,
            self.class_plot_path,
            self.metrics_path,
        )

    @property
    def is_finished(self) -> bool:
        """Whether a training in it came to its end."""
        return self.metrics_path.exists()

    def require_free(self, *, overwrite: bool) -> None:
        """Raise where the folder holds another run, or is no folder.

        Raises
        ------
        FileExistsError
            If there is another run that must not be overwritten.
        NotADirectoryError
            If it is a file.
        """
        if self.save_dir.exists() and not self.save_dir.is_dir():
            raise NotADirectoryError(f"{self.save_dir} is a file; give a folder for the run")
        found = [file.name for file in (*self.files, self.state_path) if file.exists()]
        if found and not overwrite:
            raise FileExistsError(
                f"{self.save_dir} holds another run ({', '.join(found)}); give another folder, go "
                "on with that run: --resume (resume=True), or replace it: --overwrite "
                "(overwrite=True)"
            )

    def prepare(self) -> None:
        """Make the folder, and remove the files of another run.

        Raises
        ------
        OSError
            If the folder cannot be written to.
        """
        try:
            self.save_dir.mkdir(parents=True, exist_ok=True)
            for file in (*self.files, self.state_path, self.state_part_path):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write the run to {self.save_dir} ({error.strerror}); "
                "give a folder that can be written to"
            ) from error
