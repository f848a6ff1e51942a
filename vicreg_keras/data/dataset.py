"""Where examples come from: names, splits, raw pixels or rows, and labels.

Every image anywhere is uint8, RGB, `(height, width, 3)`, in `[0, 255]`. Gray images
are repeated over the three channels. Every row of a table is float32, one number a
column, as `columns` has it. Views and normalization are the model's: nothing that is
read here has been through either. What a judge compares or a reader looks at
(`Dataset.inputs`, `Dataset.pictures`) is made of it on request.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vicreg_keras.data import sources
from vicreg_keras.data.columns import (
    Column,
    RowStatistics,
    row_pictures,
    row_statistics,
    scale_rows,
)
from vicreg_keras.data.pixels import pixel_statistics, whitening_kernel
from vicreg_keras.data.split import Split, check_seed
from vicreg_keras.settings import DataOptions, fields

# A name is `scheme` or `scheme:location`. Any other name is one of tensorflow-datasets.
DATASETS = {
    "digits": sources.load_digits,
    "folder": sources.load_folder,
    "npz": sources.load_npz,
    "csv": sources.load_csv,
    "parquet": sources.load_parquet,
    "digits_table": functools.partial(sources.load_bundled_table, table="digits"),
    "breast_cancer": functools.partial(
        sources.load_bundled_table, table="breast_cancer"
    ),
    "wine": functools.partial(sources.load_bundled_table, table="wine"),
    "iris": functools.partial(sources.load_bundled_table, table="iris"),
}
# Those whose columns have a choice of their own.
_TABLE_FILES = ("csv", "parquet")

_STATISTICS_ROWS = 200_000
_TEST_FRACTION = 0.2
_TEST_SEED = 0


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Splits of one dataset.

    Attributes:
        name: As given to `load_dataset`.
        example_shape: `(height, width, 3)`, or `(num_columns,)` of a table.
        class_names: A name for each label, or `None` when there are no labels.
        train: What is trained on.
        validation: Held out of training; every choice is made on it.
        test: What a result is reported on, or `None` when there is none.
        columns: Of a table, or `None` for images.
    """

    name: str
    example_shape: tuple[int, ...]
    class_names: tuple[str, ...] | None
    train: Split
    validation: Split
    test: Split | None
    columns: tuple[Column, ...] | None = None

    @functools.cached_property
    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training images."""
        return pixel_statistics(self.train)

    @functools.cached_property
    def whitening_kernel(self) -> np.ndarray:
        """Of a first layer that whitens patches of the training images."""
        return whitening_kernel(self.train, *self.pixel_statistics)

    @functools.cached_property
    def row_statistics(self) -> RowStatistics:
        """Of a table's training rows; of 200,000 random ones where there are more."""
        count = min(self.train.num_examples, _STATISTICS_ROWS)
        random = np.random.default_rng(0)
        chosen = np.sort(random.permutation(self.train.num_examples)[:count])
        return row_statistics(self.train.read(chosen), self.columns)

    def inputs(self, split: Split, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Examples as numbers that can be compared: pixels, or scaled rows.

        Args:
            split: One of this dataset's.
            indices: Which of its examples.

        Returns:
            float32 `(len(indices), width)`.
        """
        examples = split.read(indices)
        if self.columns is not None:
            return scale_rows(examples, self.columns, self.row_statistics)
        return examples.reshape(len(examples), -1).astype(np.float32)

    def pictures(self, split: Split, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Examples to look at: images as they are, rows as small squares of color.

        Args:
            split: One of this dataset's.
            indices: Which of its examples.

        Returns:
            uint8 `(len(indices), height, width, 3)`.
        """
        examples = split.read(indices)
        if self.columns is None:
            return examples
        return row_pictures(examples, self.columns, self.row_statistics)

    def load_user_examples(self, pattern: str) -> Split:
        """Examples of a user's own, of the kind that this dataset has, without labels.

        Args:
            pattern: Images: a file, a folder, or a glob, as of `sources.load_files`,
                decoded when they are read. Rows: a file with this dataset's columns,
                as of `sources.load_rows`.

        Raises:
            ValueError: If there is nothing, or something else than is expected.
        """
        if self.columns is None:
            part = sources.load_files(pattern, example_shape=self.example_shape)
        else:
            part = sources.load_rows(pattern, columns=self.columns)
        return _whole(part)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or `None` when there are no labels."""
        return None if self.class_names is None else len(self.class_names)


def load_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    memory_limit_gib: float = 4.0,
    label_column: str | None = None,
    drop_columns: Sequence[str] = (),
) -> Dataset:
    """Loads a dataset by its name.

    A source's own splits are kept. A source with a test part and no validation part,
    or the reverse, reports on the one it has: that one is `test`. A labeled source
    without either has a fixed fifth of each class held out as `test`, whatever the
    seed; an unlabeled one has no `test`. `validation`, where the source has none of
    its own, is held out of the training part, class by class when it has labels.

    Args:
        name: `"digits"`, `"folder:PATH"`, `"npz:PATH"` for images; `"csv:PATH"`,
            `"parquet:PATH"`, `"npz:PATH"`, `"digits_table"`, `"breast_cancer"`,
            `"wine"`, `"iris"` for rows (see `sources`); or the name of an image set
            of tensorflow-datasets, e.g. `"cifar10"`, `"name/config"`,
            `"name:version"`.
        data_dir: Where tensorflow-datasets keeps its sets, and, under `cache/`,
            where sets larger than the memory limit are kept decoded. `None`: its
            own default. Not used by the other sources.
        image_size: Height and width in pixels that every image is brought to: the
            shorter side is resized (antialiased bilinear), the longer one is cropped
            about its center. `None`: sizes are kept, and must all be equal. Rows
            have none.
        validation_fraction: Part of the training examples held out, in `(0, 1)`.
        seed: Which examples are held out for `validation`.
        memory_limit_gib: Decoded pixels up to this size are held in memory; above it
            files are decoded when they are read, and sets of tensorflow-datasets are
            decoded once into a memory-mapped file. An npz file cannot be mapped:
            it is always loaded whole, and so are rows.
        label_column: Of a csv or parquet file, the column that holds the classes:
            text, whose classes are sorted, or whole numbers. `None`: no labels.
        drop_columns: Of a csv or parquet file, the columns to leave out.

    Returns:
        A `Dataset` with the same examples in the same order whichever way it is held.

    Raises:
        ValueError: If the name is unknown, an argument is out of range, or a file's
            content is not what is expected.
        FileNotFoundError: If a folder or file does not exist.
    """
    _check_arguments(image_size, validation_fraction, seed, memory_limit_gib)
    scheme, _, location = name.partition(":")
    if (label_column is not None or drop_columns) and scheme not in _TABLE_FILES:
        raise ValueError(
            "Expected csv:PATH or parquet:PATH with names of columns. Received: "
            f"name={name!r}, label_column={label_column!r}, "
            f"drop_columns={list(drop_columns)}. Leave --label_column and "
            "--drop_columns out."
        )
    if scheme in DATASETS:
        loader = DATASETS[scheme]
    else:
        loader, location = sources.load_tfds, name
    source = loader(
        location,
        data_dir=data_dir,
        image_size=image_size,
        memory_limit_bytes=memory_limit_gib * 2**30,
        schemes=tuple(DATASETS),
        label_column=label_column,
        drop_columns=drop_columns,
    )
    train, validation, test = _make_splits(name, source, validation_fraction, seed)
    return Dataset(
        name=name,
        example_shape=train.example_shape,
        class_names=source.class_names,
        train=train,
        validation=validation,
        test=test,
        columns=source.columns,
    )


def open_dataset(options: DataOptions, seed: int) -> Dataset:
    """Loads the dataset that the options name; see `load_dataset`."""
    values = {name: getattr(options, name) for name in fields(options)}
    return load_dataset(values.pop("dataset"), seed=seed, **values)


def _make_splits(
    name: str, source: sources.Source, validation_fraction: float, seed: int
) -> tuple[Split, Split, Split | None]:
    train = _whole(source.train)
    validation = _whole(source.validation)
    test = _whole(source.test)
    if test is None and validation is not None:
        validation, test = None, validation
    if test is None and train.labels is not None:
        train, test = _hold_out(name, train, _TEST_FRACTION, _TEST_SEED)
    if validation is None:
        train, validation = _hold_out(name, train, validation_fraction, seed)
    return train, validation, test


def _whole(part: sources.Part | None) -> Split | None:
    return None if part is None else Split(part.examples, part.labels, part.names)


def _hold_out(
    name: str, split: Split, fraction: float, seed: int
) -> tuple[Split, Split]:
    """Splits into (kept, held out), each in the source's order and not empty."""
    total = split.num_examples
    if total < 2:
        raise ValueError(
            "Expected enough examples for training and for a held-out part. "
            f"Received: name={name!r} with {total} left to divide. Add examples."
        )
    count = min(max(round(total * fraction), 1), total - 1)
    # RandomState's stream is frozen by numpy: the same split under any version.
    order = np.random.RandomState(seed).permutation(total)
    if split.labels is not None:
        order = order[np.argsort(split.labels[order], kind="stable")]
    # Evenly spaced picks from examples sorted by class give each class its share,
    # rounded down or up, and exactly `count` in all.
    picks = order[(np.arange(count) * total + total // 2) // count]
    held_out = np.zeros(total, dtype=bool)
    held_out[picks] = True
    return split.take(np.flatnonzero(~held_out)), split.take(np.flatnonzero(held_out))


def _check_arguments(
    image_size: int | None,
    validation_fraction: float,
    seed: int,
    memory_limit_gib: float,
) -> None:
    if image_size is not None and image_size < 1:
        raise ValueError(
            "Expected a size in pixels of at least 1. "
            f"Received: image_size={image_size}. Use a positive --image_size."
        )
    if not 0 < validation_fraction < 1:
        raise ValueError(
            "Expected a fraction between 0 and 1, both excluded. Received: "
            f"validation_fraction={validation_fraction}. Use e.g. 0.1."
        )
    check_seed(seed)
    if not memory_limit_gib >= 0:
        raise ValueError(
            "Expected a size in GiB of at least 0. "
            f"Received: memory_limit_gib={memory_limit_gib}. Use e.g. 4."
        )
