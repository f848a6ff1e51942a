"""What a command line asks for, checked before anything heavy is imported."""

import dataclasses
from typing import Any

from vicreg_keras.errors import InputError
from vicreg_keras.modes import MODES
from vicreg_keras.modes.options import EncoderOptions
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import check_paths, check_writable
from vicreg_keras.workdir.versions import saved_model_folder

# The other modes print what they find, whether it can be kept or not.
_WRITES = ("pretrain", "ablate", "search", "embed", "export")


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        mode: A key of `MODES`.
        workdir: Folder of the run, or `None`.
        encoder: Which encoder, and what is read out of it.
        data: Which dataset.
        settings: The recipe.
        options: The mode's own options.
    """

    mode: str
    workdir: str | None
    encoder: EncoderOptions
    data: DataOptions
    settings: Settings
    options: Any

    def check_paths(self) -> None:
        """Checks that what is read is there, and that what is written can be.

        Raises:
            InputError: If not.
        """
        check_paths(self.options)
        output = getattr(self.options, "output", None)
        if output or self.mode == "report":
            path = output or "report.html"
            check_writable("output", path, "Give another output=PATH")
        needs, workdir = MODES[self.mode].needs, self.workdir
        if needs == "runs":
            return
        if needs == "recipe" and not workdir:
            raise InputError(
                "Expected workdir=RUN, a folder for the run. Received: none."
            )
        folder = self.encoder.saved_model or workdir
        if not folder:
            raise InputError(
                "Expected workdir=RUN or saved_model=PATH with an encoder. Received: "
                "neither. Train one by mode=pretrain and workdir=RUN."
            )
        if needs == "encoder" and not folder.endswith(".keras"):
            saved_model_folder(folder)
        self.data.check_path()
        if workdir and not output:
            query = getattr(self.options, "query", None)
            if self.mode in _WRITES or query:
                instead = "workdir=RUN" if needs == "recipe" else "output=PATH"
                check_writable("workdir", workdir, f"Give another {instead}")
