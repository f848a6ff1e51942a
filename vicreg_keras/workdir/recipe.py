"""The recipe of a run, as a text with the run's id and a checksum.

The same text is the run's `flags.flags`, is in each of its checkpoints and, as
`recipe.flags`, among the assets of its encoder: no single lost file changes what a run
is. Flag files may have comments, so that `--flagfile` reads it, too.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
import warnings
from collections.abc import Mapping

from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.workdir.versions import newest_version

FLAG_FILE = "flags.flags"
# Among the assets of a SavedModel.
RECIPE_FILE = "recipe.flags"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Flags of a run.

    Attributes:
        flags: Values, as texts, by name.
        run_id: 16 hexadecimal digits drawn when the run began; empty where an earlier
            version of the program began it.
    """

    flags: Mapping[str, str]
    run_id: str = ""

    @property
    def text(self) -> str:
        """The recipe as a flag file."""
        lines = [f"--{name}={value}\n" for name, value in sorted(self.flags.items())]
        if self.run_id:
            content = "".join([self.run_id, *lines]).encode("utf-8", "surrogateescape")
            checksum = hashlib.sha256(content).hexdigest()[:16]
            lines.insert(0, f"# run {self.run_id}, checksum {checksum}\n")
        return "".join(lines)

    @classmethod
    def from_text(cls, content: bytes, where: str | os.PathLike) -> "Recipe":
        """Returns the recipe whose `text` a file holds.

        Args:
            content: The text in UTF-8.
            where: Where it is from, for the message.

        Raises:
            DamagedError: If it is not as it was written.
        """
        text = content.decode("utf-8", "surrogateescape")
        lines = [line for line in text.split("\n") if line and line[0] != "#"]
        matches = [re.fullmatch(r"--([a-z0-9_]+)=(.*)", line) for line in lines]
        flags = {match[1]: match[2] for match in matches if match}
        if len(flags) < len(lines) or not flags:
            raise DamagedError(where, "it is no list of flags")
        header = re.match(r"# run ([0-9a-f]{16}), checksum ", text)
        recipe = cls(flags, header[1] if header else "")
        if header and recipe.text != text:
            raise DamagedError(where, "its checksum is of other flags")
        return recipe


def read_recipe(folder: pathlib.Path) -> Recipe | None:
    """Returns the recipe of a run, if need be from its newest encoder, which is said.

    Args:
        folder: The run's folder.

    Returns:
        The recipe, or `None` where neither has one.

    Raises:
        DamagedError: If the run's `flags.flags` is damaged and no encoder has it.
    """
    path, version = folder / FLAG_FILE, newest_version(folder / "encoder")
    kept = None if version is None else encoder_recipe(version)
    try:
        recipe = Recipe.from_text(path.read_bytes(), path)
        if recipe.run_id or kept is None or not kept.run_id:
            return recipe
        fault = f"{path} is damaged (without the run's id)"
    except FileNotFoundError:
        fault = f"{path} is missing"
    except DamagedError as error:
        if kept is None:
            raise
        fault = error.fault
    if kept is not None:
        warnings.warn(f"{fault}: the recipe is that in {version}.", stacklevel=2)
    return kept


def recorded_flags(folder: pathlib.Path, required: bool) -> list[str]:
    """Returns the flags of a run's recipe, as they are typed; none without a recipe.

    Args:
        folder: The run's folder.
        required: Whether an encoder must have a recipe.

    Raises:
        InputError: If there is an encoder without the recipe that is required.
    """
    recipe = read_recipe(folder)
    if recipe is not None:
        return [f"--{name}={value}" for name, value in recipe.flags.items()]
    if required and newest_version(folder / "encoder") is not None:
        raise InputError(
            "Expected the recipe of the run, in flags.flags or in its encoder. "
            f"Received: workdir={folder}, which has neither. Restore flags.flags, or "
            f"name the encoder by saved_model={folder}."
        )
    return []


def encoder_recipe(version: pathlib.Path) -> Recipe | None:
    """Returns the recipe of a saved encoder, or `None` where there is no whole one."""
    path = version / "assets" / RECIPE_FILE
    try:
        return Recipe.from_text(path.read_bytes(), path)
    except (OSError, DamagedError):
        return None
