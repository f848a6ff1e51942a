"""Evaluations beside those of the baselines, of which the raw input's are kept.

The raw input of a dataset is the same for every run, and the widest to be evaluated.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import vicreg_keras
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.modes.context import Context
from vicreg_keras.workdir.files import write_text

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
        made_from = _as_json(
            {
                "evaluation": cls.__name__,
                "dataset": context.dataset.fingerprint,
                "input": cache.key,
                "seed": context.seed,
                "splits": [*splits],
                "settings": settings,
                "code": _code_digest(),
            }
        )
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


def _as_json(values):
    """Values as they are read again: lists of tuples, and keys that are texts."""
    return json.loads(json.dumps(values))


def _digest(values: object) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: pathlib.Path, made_from: object, cls: type[ResultT]) -> ResultT | None:
    """The result that is kept, or `None` where it is not whole or of something else."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        if kept["checksum"] != _digest([kept["made_from"], kept["result"]]):
            return None
        return (
            from_json(cls, kept["result"]) if kept["made_from"] == made_from else None
        )
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def _write(path: pathlib.Path, made_from: object, result: "DataclassInstance") -> None:
    values = _as_json([made_from, to_json(result)])
    kept = {"checksum": _digest(values), "made_from": values[0], "result": values[1]}
    try:
        write_text(path, json.dumps(kept, indent=1))
    except OSError:  # A folder that can't be written: it is computed again.
        return
