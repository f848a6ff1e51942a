"""`DataCard`: what a run knows of its data, and what has changed since.

A card is inside each checkpoint and in the assets of a SavedModel, and is the
`data.json` of a run's folder, for people.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Sequence
from typing import IO

import cattrs
import numpy as np

from vicreg_keras.data.columns import Column, TableStatistics
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.data.sources.base import Known, quoted
from vicreg_keras.errors import DamagedError, InputError
from vicreg_keras.workdir.files import parse_json, read_npz, with_checksum

_MAX_NAMES = 3  # Of each kind of change, of classes and of columns.


@dataclasses.dataclass(frozen=True)
class PixelStatistics:
    """Statistics of the training images.

    Attributes:
        mean: Mean of each channel, in [0, 255].
        std: Standard deviation of each channel.
        whitening: Kernel of a first layer that whitens, see `pixels.whitening_kernel`;
            `None` for encoders without one.
    """

    mean: np.ndarray
    std: np.ndarray
    whitening: np.ndarray | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
    """What an encoder's input is: all of the data that is inside an encoder.

    Attributes:
        example_shape: `(height, width, 3)`, or `(num_columns,)`.
        columns: The columns of a table, or `None` for images.
        max_pixel: The value in the files that became 255, see `Source`.
        statistics: Of the examples that it was trained on.
    """

    example_shape: tuple[int, ...]
    columns: tuple[Column, ...] | None
    max_pixel: int
    statistics: PixelStatistics | TableStatistics

    @property
    def known(self) -> Known:
        """How other data is read for the encoder."""
        return Known(self.columns, self.max_pixel)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitCard:
    """A split.

    Attributes:
        num_examples: Number of examples.
        held_out: Whether they were taken from the training split.
        num_per_class: Number of examples by class name, or `None` without labels.
        fingerprint: See `Split`.
    """

    num_examples: int
    held_out: bool
    num_per_class: dict[str, int] | None
    fingerprint: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataCard:
    """What was read.

    Attributes:
        dataset: Name of the dataset.
        splits: The splits by name.
        class_names: A name for each label, or `None`.
        schema: What an encoder of this data keeps of it.
        left_out: What was found and not read.
        notes: How the rest was read where it could be read in other ways.
        in_memory: Whether fingerprints are of whole contents; otherwise they are of
            sizes, modification times and some contents of the files.
        fingerprint: Digest of all that can change a result.
    """

    dataset: str
    splits: dict[str, SplitCard]
    class_names: tuple[str, ...] | None
    schema: Schema
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    in_memory: bool
    fingerprint: str

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the whole batches of the examples that are trained on."""
        names = {"train", "unlabeled"}.intersection(self.splits)
        return sum(self.splits[name].num_examples for name in names) // batch_size

    def facts(self) -> dict[str, str]:
        """Returns what was read, as texts by what they are of."""
        splits = {
            f"{name} split": f"{split.num_examples:,} examples"
            + (", held out of the training split" if split.held_out else "")
            for name, split in self.splits.items()
        }
        classes = "none" if self.class_names is None else f"{len(self.class_names)}"
        return {
            "dataset": self.dataset,
            "shape of an example": " x ".join(map(str, self.schema.example_shape)),
            "classes": classes,
            **splits,
            "left out": "; ".join(self.left_out) or "nothing",
            "read with care": "; ".join(self.notes) or "-",
            "fingerprint": self.fingerprint,
        }

    def to_json(self, **more: str) -> str:
        """Returns indented JSON, with further values that `from_json` does not read."""
        values = with_checksum(_CONVERTER.unstructure(self) | more)
        text = json.dumps(values, indent=2, ensure_ascii=False)
        # A line ends in no string.
        return re.sub(r'\[\n[^"{}]*\]', lambda match: " ".join(match[0].split()), text)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> "DataCard":
        """Returns the card whose `to_json` a text is.

        Args:
            text: The text, or its bytes in UTF-8.
            where: Where it is from, for the message.

        Raises:
            DamagedError: If it is not as it was written.
            InputError: If it is another.
        """
        values = parse_json(text, where)
        try:
            return _CONVERTER.structure(values, cls)
        except (ValueError, TypeError, KeyError, cattrs.BaseValidationError) as error:
            raise InputError(
                f"Expected the data card of a run. Received: {where}, which another "
                "version of the program has written. Train anew in another workdir."
            ) from error


def describe(dataset: Dataset) -> str:
    """Returns what was read, in a line; and a line for each note on how.

    Args:
        dataset: The dataset.
    """
    splits, shape = dataset.splits, dataset.example_shape
    total = sum(split.num_examples for split in splits.values())
    if dataset.columns is None:
        kind, form = "images", f"{shape[0]} x {shape[1]}"
    else:
        columns = [column.name for column in dataset.columns]
        word = "column" if len(columns) == 1 else "columns"
        kind, form = "rows", f"{len(columns):,} {word} ({_first(columns)})"
    classes = "without labels"
    if dataset.class_names is not None:
        num_classes = len(dataset.class_names)
        classes = f"of {num_classes} classes ({_first(dataset.class_names)})"
    parts = []
    for name, split in splits.items():
        held_out = "held out " if name in dataset.held_out else ""
        purposes = {"train": "to train on", "unlabeled": "more to train on, unlabeled"}
        purpose = purposes.get(name, f"{held_out}for {name}")
        parts.append(f"{split.num_examples:,} {purpose}")
    text = f"Read {total:,} {kind} {classes}, {form}: {', '.join(parts)}"
    if dataset.left_out:
        text += f"; left out: {', '.join(dataset.left_out)}"
    return "\n  ".join([f"{text}.", *dataset.notes])


def make_card(dataset: Dataset, schema: Schema) -> DataCard:
    """Returns the card of a dataset.

    Args:
        dataset: The dataset.
        schema: What the encoder keeps of the data.
    """
    names, splits = dataset.class_names, {}
    for name, split in dataset.splits.items():
        counts = None
        if split.labels is not None:
            numbers = np.bincount(split.labels, minlength=len(names)).tolist()
            counts = dict(zip(names, numbers, strict=True))
        splits[name] = SplitCard(
            num_examples=split.num_examples,
            held_out=name in dataset.held_out,
            num_per_class=counts,
            fingerprint=split.fingerprint,
        )
    return DataCard(
        dataset=dataset.name,
        splits=splits,
        class_names=names,
        schema=schema,
        left_out=dataset.left_out,
        notes=dataset.notes,
        in_memory=dataset.train.is_in_memory,
        fingerprint=dataset.fingerprint,
    )


def save_examples(dataset: Dataset, file: IO[bytes]) -> None:
    """Saves names, digests and classes of all examples, for `changes`.

    Args:
        dataset: The dataset.
        file: Open file, an npz.
    """
    names, digests, classes = _examples(dataset)
    np.savez_compressed(
        file,
        fingerprint=dataset.fingerprint,
        names=names,
        digests=digests,
        classes=classes,
    )


def changes(earlier: DataCard, dataset: Dataset, path: pathlib.Path) -> tuple[str, ...]:
    """Returns what has changed in a dataset since a run has read it, in words.

    Args:
        earlier: What the run had read.
        dataset: The dataset as it is now.
        path: What `save_examples` had saved.

    Returns:
        A text for each kind of change; none if nothing has changed.
    """
    if earlier.fingerprint == dataset.fingerprint:
        return ()
    found = []
    if earlier.schema.columns != dataset.columns:
        found.append("its columns or their categories are others")
    before, now = set(earlier.class_names or ()), set(dataset.class_names or ())
    if earlier.class_names and dataset.class_names:
        for text, names in (("gone", before - now), ("new", now - before)):
            if names:
                found.append(
                    f"of its classes {quoted(sorted(names), _MAX_NAMES)} are {text}"
                )
    elif before or now:
        found.append("its labels are read" if now else "its labels are not read")
    found += _example_changes(earlier, dataset, path)
    if not found and earlier.in_memory == dataset.train.is_in_memory:
        found.append("the same examples are split otherwise")
    return tuple(found)


def _example_changes(
    earlier: DataCard, dataset: Dataset, path: pathlib.Path
) -> list[str]:
    try:
        file = read_npz(path)
        if str(file["fingerprint"]) != earlier.fingerprint:
            raise DamagedError(path, "of other data")
        parts = [file[name].tolist() for name in ("names", "digests", "classes")]
    except (FileNotFoundError, DamagedError):  # Without it, numbers are all there is.
        return [
            f"{name} has {len(split):,} examples"
            + (
                f" instead of {earlier.splits[name].num_examples:,}"
                if name in earlier.splits
                else ""
            )
            for name, split in dataset.splits.items()
            if name not in earlier.splits
            or earlier.splits[name].fingerprint != split.fingerprint
        ]
    before = {name: rest for name, *rest in zip(*parts, strict=True)}
    parts = [part.tolist() for part in _examples(dataset)]
    now = {name: rest for name, *rest in zip(*parts, strict=True)}
    both = [name for name in now if name in before]
    # Digests of contents and of files can't be compared.
    comparable = earlier.in_memory == dataset.train.is_in_memory
    labeled = earlier.class_names and dataset.class_names
    # Of files that are read as needed, whole contents are not compared.
    changed = "changed" if earlier.in_memory else "of another size or modification time"
    kinds = {
        "added": [name for name in now if name not in before],
        "removed": [name for name in before if name not in now],
        changed: [
            name for name in both if comparable and before[name][0] != now[name][0]
        ],
        "of another class": [
            name for name in both if labeled and before[name][1] != now[name][1]
        ],
    }
    return [_count(names, kind) for kind, names in kinds.items() if names]


def _examples(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, digests and classes of all examples, sorted by split."""
    splits = list(dataset.splits.values())
    classes = []
    for split in splits:
        named = split.labels is not None
        classes += (
            [dataset.class_names[i] for i in split.labels]
            if named
            else ([""] * len(split))
        )
    return (
        np.array([name for split in splits for name in split.names]),
        np.concatenate([split.digests for split in splits]),
        np.array(classes),
    )


def _count(names: Sequence[str], kind: str) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{len(names):,} {verb} {kind} ({quoted(names, _MAX_NAMES)})"


def _first(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MAX_NAMES], *["..."] * (len(names) > _MAX_NAMES)])


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(np.ndarray, lambda array: array.tolist())

    def to_array(values, _):
        array = np.array(values)
        return array.astype(np.float32) if array.dtype.kind == "f" else array

    converter.register_structure_hook(np.ndarray, to_array)
    return converter


_CONVERTER = _make_converter()
