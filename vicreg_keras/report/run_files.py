"""Files of a run that the page shows; one that is not the run's own is left out."""

import contextlib
import warnings
from collections.abc import Iterator

from vicreg_keras.data.card import DataCard
from vicreg_keras.errors import DamagedError, error_reason
from vicreg_keras.report.images import Picture, embed, picture_owner
from vicreg_keras.workdir.files import parse_json, read_json
from vicreg_keras.workdir.run_folder import RunFolder


def read_figure(run: RunFolder, name: str) -> Picture | None:
    """Returns a figure of a run, or `None` without a whole one, which is said."""
    path = run.figures / f"{name}.png"
    with _left_out():
        content = path.read_bytes()
        try:
            owner = picture_owner(content)
        except Exception as error:  # Of many kinds: SyntaxError, zlib.error, ...
            raise DamagedError(path, error_reason(error)) from error
        _check_owner(path, owner, run)
        return embed(content)
    return None


def read_card(run: RunFolder) -> DataCard | None:
    """Returns the card in a run's `data.json`, likewise."""
    with _left_out(run):
        content = run.data_card.read_bytes()
        owner = parse_json(content, run.data_card).get("run")
        _check_owner(run.data_card, owner, run)
        return DataCard.from_json(content, str(run.data_card))
    return None


def read_environment(run: RunFolder) -> dict[str, str]:
    """Returns what a run's `environment.json` holds, likewise."""
    with _left_out(run):
        values = read_json(run.environment)
        _check_owner(run.environment, values.pop("run", None), run)
        return {
            key: ", ".join(value) if isinstance(value, list) else str(value)
            for key, value in values.items()
        }
    return {}


@contextlib.contextmanager
def _left_out(writer: RunFolder | None = None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if writer is not None and writer.run_id:
            warnings.warn(f"{error.filename} is missing: it is left out.", stacklevel=4)
    except DamagedError as error:
        warnings.warn(f"{error.fault}: it is left out.", stacklevel=4)


def _check_owner(path, owner, run):
    if owner and run.run_id and owner != run.run_id:
        raise DamagedError(path, "it is of another run")
