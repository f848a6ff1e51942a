"""`load_dataset`: datasets by name, with their splits, labels and class names.

Every image anywhere is uint8, RGB, `(height, width, 3)`, in `[0, 255]`. Gray images
are repeated over the three channels. Every example of a table is float32, one number
per column, see `columns`. Views and normalization are the model's: nothing that is
read here has been through either.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vicreg_keras.data.columns import (
    TableStatistics,
    table_images,
    table_statistics,
)
from vicreg_keras.data.fingerprint import digest
from vicreg_keras.data.pixels import pixel_statistics, whitening_kernel
from vicreg_keras.data.sources import bundled, folders, npz, tables, tfds
from vicreg_keras.data.sources.base import NOTHING_KNOWN, Known, Source, shown_name
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.settings import Settings
from vicreg_keras.settings.data import PATH_SCHEMES, DataOptions
from vicreg_keras.settings.options import fields

_MAX_STATISTICS_EXAMPLES = 200_000
_TEST_FRACTION = 0.2
_TEST_SEED = 0


# A loader, and the options that have an effect on it beside those of every dataset.
Loader = tuple[Callable[[DataOptions, Known], Source], tuple[str, ...]]

_TABLE_OPTIONS = (
    *("label_column", "drop_columns", "categorical_columns", "numeric_columns"),
    "header",
)
_TABLE_FILE = (tables.load_table, _TABLE_OPTIONS)
_BUNDLED_TABLE: Loader = (bundled.load_bundled_table, ())
# By the scheme of a name, which is `scheme` or `scheme:location`. Any other name is
# one of tensorflow-datasets.
DATASETS: dict[str, Loader] = {
    "digits": (bundled.load_digits, ("image_size", "unreadable")),
    "folder": (folders.load_folder, ("image_size", "labels", "unreadable")),
    "npz": (npz.load_npz, ("image_size", "labels", "unreadable")),
    "csv": _TABLE_FILE,
    "parquet": _TABLE_FILE,
    "digits_table": _BUNDLED_TABLE,
    "breast_cancer": _BUNDLED_TABLE,
    "wine": _BUNDLED_TABLE,
    "iris": _BUNDLED_TABLE,
}
_TFDS = (
    functools.partial(tfds.load_tfds, other_names=tuple(DATASETS)),
    ("data_dir", "image_size", "labels", "unreadable"),
)
# The options that some datasets refuse.
_OPTIONS = {name for _, names in (*DATASETS.values(), _TFDS) for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(Source):
    """Splits of one dataset, held out where its source has none of its own.

    Attributes:
        options: How it was read.
        train: The training split.
        validation: Held out of training; every choice is made on it.
        test: The split that results are reported on, or `None` without one.
        class_names: A name for each label, or `None` without labels.
        columns: The columns of a table, or `None` for images.
        held_out: Names of the splits that were taken from the training split.
    """

    options: DataOptions
    held_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name given to `load_dataset`."""
        return self.options.dataset

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name; `unlabeled` comes last."""
        names = ("train", "validation", "test", "unlabeled")
        splits = {name: getattr(self, name) for name in names}
        return {name: split for name, split in splits.items() if split is not None}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of all that can change a result: examples, labels, names, columns."""
        splits = {name: split.fingerprint for name, split in self.splits.items()}
        return digest(splits, self.class_names, self.columns)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """`(height, width, 3)`, or `(num_columns,)` of a table."""
        return self.train.example_shape

    @functools.cached_property
    def pretraining(self) -> Split:
        """What is trained on without labels: `train`, and `unlabeled` after it."""
        if self.unlabeled is None:
            return self.train
        return self.train.concatenate(self.unlabeled)

    @functools.cached_property
    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training images."""
        return pixel_statistics(self.pretraining)

    @functools.cached_property
    def whitening_kernel(self) -> np.ndarray:
        """Kernel of a first layer that whitens patches of the training images."""
        return whitening_kernel(self.pretraining, *self.pixel_statistics)

    @functools.cached_property
    def table_statistics(self) -> TableStatistics:
        """Statistics of a table's training split, or of 200,000 random examples."""
        examples = self.pretraining.sample(_MAX_STATISTICS_EXAMPLES, seed=0).read()
        return table_statistics(examples, self.columns)

    def display_images(
        self, split: Split, indices: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Returns examples to look at: images as they are, a table's as `table_images`.

        Args:
            split: One of this dataset's.
            indices: Which of its examples.

        Returns:
            uint8 `(len(indices), height, width, 3)`.
        """
        examples = split.read(indices)
        if self.columns is None:
            return examples
        return table_images(examples, self.columns, self.table_statistics)

    def load_user_examples(self, pattern: str) -> Split:
        """Loads user-provided examples of this dataset's kind, without labels.

        Args:
            pattern: Images: a file, a folder, or a glob, see `folders.load_files`.
                Examples of a table: a file with this dataset's columns; see
                `tables.load_user_table`.

        Raises:
            InputError: If there is nothing, or something else than is expected.
        """
        if self.columns is None:
            known = Known(max_pixel=self.max_pixel)
            source = folders.load_files(
                pattern, self.example_shape, known, self.options
            )
        else:
            source = tables.load_user_table(pattern, columns=self.columns)
        left_out = ", ".join(source.left_out)
        for note in [*[f"left out: {left_out}"] * bool(left_out), *source.notes]:
            print(f"Read {shown_name(pattern)}: {note}.", file=sys.stderr)
        return source.train

    @property
    def num_classes(self) -> int | Any:
        """Number of classes, or `None` without labels."""
        return None if self.class_names is None else len(self.class_names)


def load_dataset(name: str, *, seed: int = 0, **options) -> Dataset:
    """Loads a dataset by its name.

    A dataset's own splits are kept. Where it has a test split and no validation split,
    or the reverse, that one is `test`. A labeled dataset without either has a fixed
    fifth of each class held out as `test`, whatever the seed; an unlabeled one has no
    `test`. `validation`, where the dataset has none of its own, is held out of the
    training split, class by class when it has labels.

    Args:
        name: `"digits"`, `"folder:PATH"`, `"npz:PATH"` for images; `"csv:PATH"`,
            `"parquet:PATH"`, `"npz:PATH"`, `"digits_table"`, `"breast_cancer"`,
            `"wine"`, `"iris"` for tables (see `data.sources`); or the name of an image
            dataset of tensorflow-datasets, e.g. `"cifar10"`, `"name/config"`,
            `"name:version"`.
        seed: Which examples are held out for `validation`, at least 0.
        **options: The other options of a dataset:

            - `data_dir` (`None`): Folder where tensorflow-datasets keeps its datasets,
              and, under `cache/`, those larger than the memory limit, decoded. `None`:
              its own default. For its datasets only.
            - `image_size` (`None`): Height and width in pixels that every image is
              resized to: the shorter side is resized (antialiased bilinear), the longer
              one is cropped about its center. `None`: sizes are kept, and must all be
              equal. For images only.
            - `validation_fraction` (0.1): Fraction of the training examples held out,
              in `(0, 1)`.
            - `memory_limit_gib` (4.0): Decoded images up to this size, in GiB, are held
              in memory; above it files are decoded when they are read, and datasets of
              tensorflow-datasets are decoded once into a memory-mapped file. An npz
              file cannot be mapped: it is always loaded whole, and so are tables.
            - `label_column` (`None`): Column of a CSV or Parquet file that holds the
              classes: text, whose classes are sorted, or whole numbers. `None`: no
              labels. Rows without one are trained on, and not evaluated.
            - `drop_columns`, `categorical_columns`, `numeric_columns` (`()`): Columns
              of a CSV or Parquet file to leave out, to read as categories whatever
              they hold, and to read as numbers though they look like row numbers.
            - `header` (`"first"`): Where a CSV file names its columns; `"none"` names
              them `column_0` and so on.
            - `labels` (`"auto"`): `"none"` reads images without their labels.
            - `unreadable` (`"refuse"`): What becomes of image files that can't be read,
              also of those of `load_user_examples`; `"skip"` leaves them out.

    Returns:
        A `Dataset` with the same examples in the same order whichever way it is held.

    Raises:
        InputError: If the name is unknown, an argument is out of range or without
            effect on such a dataset, or a file does not exist or has other content
            than is expected.
    """
    for option, value in options.items():
        options[option] = tuple(value) if isinstance(value, list) else value
    data = DataOptions(dataset=name, **options)
    return open_dataset(data, Settings(seed=seed).seed)


def open_dataset(
    options: DataOptions, seed: int, known: Known | None = None
) -> Dataset:
    """Loads the dataset that options name; see `load_dataset`.

    Args:
        options: Which dataset, and how it is read.
        seed: Which examples are held out for `validation`.
        known: How the data of the encoder that it is for was read.
    """
    source = _load_source(options, known or NOTHING_KNOWN)
    train, validation, test = source.train, source.validation, source.test
    if test is None:
        validation, test = None, validation
    hold_out_test = test is None and train.labels is not None
    if len(train) <= hold_out_test + (validation is None):
        raise InputError(
            "Expected enough examples for training and to hold some out. Received: "
            f"dataset={options.dataset!r} with {len(train)}. Add examples."
        )
    held_out: tuple[str, ...] = ()
    if hold_out_test:
        held_out += ("test",)
        train, test = train.hold_out(_TEST_FRACTION, _TEST_SEED)
    if validation is None:
        held_out += ("validation",)
        train, validation = train.hold_out(options.validation_fraction, seed)
    splits = {"train": train, "validation": validation, "test": test}
    values = {**vars(source), **splits, "held_out": held_out}
    return Dataset(**values, options=options)


def _load_source(options: DataOptions, known: Known) -> Source:
    name = options.dataset
    scheme, _, location = name.partition(":")
    load, known_options = DATASETS.get(scheme, _TFDS)
    if location and scheme in DATASETS and scheme not in PATH_SCHEMES:
        raise InputError(
            f"Expected `{scheme}` alone. Received: dataset={name!r}. Use "
            f"dataset={scheme}."
        )
    for option in sorted(_OPTIONS.difference(known_options)):
        value = getattr(options, option)
        if value != fields(DataOptions)[option].default:
            raise InputError(
                f"Expected no {option} for dataset={name}. Received: {option}="
                f"{value!r}. Leave {option} out."
            )
    return load(options, known)
