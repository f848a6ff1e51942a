"""Evaluations beside those of the baselines, of which the raw input's are kept.

The raw input of a dataset is the same for every run, and the widest to be evaluated.
"""

import functools
import hashlib
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import vicreg_keras
from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.modes.context import Context
from vicreg_keras.workdir.files import read_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ResultT = TypeVar("ResultT", bound="DataclassInstance")

# Folder of what all runs share; by default one in the user's cache.
CACHE_VARIABLE = "VICREG_KERAS_CACHE"


def evaluate_each(
    context: Context,
    splits: Sequence[str],
    cls: type[ResultT],
    evaluate: Callable[[str, list[Features]], ResultT],
    **settings: object,
) -> dict[str, ResultT]:
    """Evaluates the encoder, and each baseline in turn.

    Args:
        context: Encoder and dataset.
        splits: Names of splits.
        cls: Type of a result.
        evaluate: Called with a key of `records.NAMES` and the features of the splits.
        **settings: All that the raw input's result depends on beside the dataset.

    Returns:
        Results by key of `records.NAMES`.
    """
    results = {}
    for name, cache in context.feature_caches.items():
        if name != "raw_input":
            results[name] = evaluate(name, [cache[split] for split in splits])
            continue
        made_from = {
            "evaluation": cls.__name__,
            "dataset": context.dataset.fingerprint,
            "input": cache.key,
            "seed": context.seed,
            "splits": [*splits],
            "settings": settings,
            "code": _code_digest(),
        }
        path = _cache_folder() / f"{_digest(made_from)}.json"
        kept = _read(path, made_from, cls)
        if kept is None:
            kept = evaluate(name, [cache[split] for split in splits])
            _write(path, made_from, kept)
        else:
            print(f"The raw input's results were kept by an earlier run: {path}")
        results[name] = kept
    return results


def _cache_folder() -> pathlib.Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.environ.get(CACHE_VARIABLE) or pathlib.Path(home, "vicreg_keras")
    return pathlib.Path(folder).expanduser() / "baselines"


@functools.cache
def _code_digest() -> str:
    """Digest of the code that evaluates: another version may give other numbers."""
    root = pathlib.Path(vicreg_keras.__file__).parent
    files = [*root.glob("evaluate/*.py"), *root.glob("models/*.py")]
    return _digest({path.name: path.read_text("utf-8") for path in sorted(files)})


def _digest(values: object) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: pathlib.Path, made_from: object, cls: type[ResultT]) -> ResultT | None:
    """The result that is kept, or `None` where it is not whole or of something else."""
    try:
        kept = read_json(path)
        if _digest(kept.get("made_from")) == _digest(made_from):
            return from_json(cls, kept["result"])
    except DamagedError as error:
        warnings.warn(f"{error.fault}: it is computed again.", stacklevel=2)
    except (OSError, InputError):
        pass
    return None


def _write(path: pathlib.Path, made_from: object, result: "DataclassInstance") -> None:
    try:
        write_json(path, {"made_from": made_from, "result": to_json(result)})
    except OSError:  # A folder that can't be written: it is computed again.
        return
