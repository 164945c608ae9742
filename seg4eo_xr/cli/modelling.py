"""The networks there are, and a first try, as commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.groups import Folder


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List the networks, or their encoders.

    Example: seg4eo-xr models --encoders
    """

    encoders: bool = False
    """List the encoders instead."""

    def run(self, *, progress: bool) -> Told:
        """Print one name a line."""
        from seg4eo_xr.models.zoo import list_encoders, list_models

        names = list_encoders() if self.encoders else list_models()
        return Told("\n".join(names), {"encoders" if self.encoders else "models": names})


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Make a scene, train on a part, and map another.

    Takes two to five minutes on two cores. Example: seg4eo-xr demo --output seg4eo-xr-demo
    """

    output: Folder = Path("seg4eo-xr-demo")
    """Folder for the scene, the patches, the run, the map and the pictures."""
    seed: int = 0
    """Seed of the scene and of the training."""
    overwrite: bool = False
    """Replace what an earlier demo left in the folder."""

    def run(self, *, progress: bool) -> Told:
        """Run all stages and say what to look at."""
        from seg4eo_xr.demo import run_demo

        demo = run_demo(self.output, seed=self.seed, overwrite=self.overwrite, progress=progress)
        figures = {"folder": demo.folder, "seconds": demo.seconds}
        return Told(demo.summary(), {**figures, **demo.evaluation.to_dict()})


@dataclass(frozen=True, kw_only=True)
class Completion(Command):
    """Write the script that completes words in a shell.

    For this session of bash: eval "$(seg4eo-xr completion bash)". For all to come, put that line
    into ~/.bashrc; zsh and fish read a file, as ~/.config/fish/completions/seg4eo-xr.fish.
    Example: seg4eo-xr completion bash
    """

    FIRST_WORD: ClassVar[str] = "shell"

    shell: Literal["bash", "zsh", "fish", "tcsh"]
    """The shell."""

    def run(self, *, progress: bool) -> Told:
        """Make the script."""
        from seg4eo_xr.cli.overview import completion_script

        script = completion_script(self.shell)
        return Told(script, {"shell": self.shell, "script": script})
