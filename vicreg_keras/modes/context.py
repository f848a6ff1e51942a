"""What a mode evaluates: an encoder, a dataset, baselines, and the run for results."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from vicreg_keras.data.card import DataCard
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.data.split import Split
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.accuracy import ClassificationRecord
from vicreg_keras.evaluate.feature_cache import FeatureCache
from vicreg_keras.evaluate.features import (
    Encoder,
    Features,
    input_size_problem,
    require_class_names,
    require_test_split,
)
from vicreg_keras.evaluate.linear_probe import (
    FittedHead,
    LinearHead,
    fit_head,
)
from vicreg_keras.evaluate.patch_dictionary import SIDE, PatchDictionary
from vicreg_keras.evaluate.records import Record, RecordT, to_json
from vicreg_keras.figures.examples import Tile
from vicreg_keras.figures.style import Figure, save
from vicreg_keras.models.readout import ReadOut
from vicreg_keras.models.table_encoder import make_input_encoder
from vicreg_keras.report.tables import tables
from vicreg_keras.settings.options import write_problem
from vicreg_keras.workdir.run_folder import RunFolder


@dataclasses.dataclass
class Context:
    """An encoder on a dataset, with its baselines.

    Everything else is computed when it is first asked for, and once.

    Attributes:
        encoder: The encoder that is evaluated.
        dataset: The dataset that it is evaluated on; not always the one that it was
            trained on.
        run: Folder for records and figures, or `None`.
        make_encoder: Returns a new trainable encoder, with the run's weights if its
            argument is true, else untrained; `None` where there is no run.
        seed: Seed of all random draws.
        options: See `Record`.
    """

    encoder: Encoder
    dataset: Dataset
    run: RunFolder | None = None
    make_encoder: Callable[[bool], keras.Model] | None = None
    seed: int = 0
    options: dict[str, Any] | None = None

    @property
    def card(self) -> DataCard | None:
        """Card of the data that the encoder was trained on, where it is known."""
        return getattr(self.encoder, "card", None)

    @functools.cached_property
    def keeps(self) -> bool:
        """Whether results are kept: there is a run, and its folder can be written."""
        return self.run is not None and write_problem(self.run.path) is None

    @functools.cached_property
    def features(self) -> FeatureCache:
        """The encoder's features by split."""
        return self._cache(self.encoder, "encoder")

    @functools.cached_property
    def untrained_encoder(self) -> Encoder | None:
        """The encoder as it was before training, where a run tells."""
        if self.make_encoder is None:
            return None
        encoder, ours = self.make_encoder(False), self.encoder
        return ours.reading_out(encoder) if isinstance(ours, ReadOut) else encoder

    @functools.cached_property
    def untrained_features(self) -> FeatureCache | None:
        """The untrained encoder's features by split."""
        if self.untrained_encoder is None:
            return None
        return self._cache(self.untrained_encoder, "untrained")

    @functools.cached_property
    def patch_features(self) -> FeatureCache | None:
        """Features by a dictionary of patches, for an encoder read out otherwise."""
        ours, train = self.encoder, self.dataset.train
        if not isinstance(ours, ReadOut) or min(train.example_shape[:2]) < SIDE:
            return None
        patches = PatchDictionary(train, ours.representation_size, self.seed)
        return self._cache(patches, "patches")

    @functools.cached_property
    def input_features(self) -> FeatureCache:
        """The raw input as features by split."""
        return FeatureCache(make_input_encoder(self.dataset), self.dataset)

    @functools.cached_property
    def fitted_head(self) -> FittedHead:
        """The encoder's linear head, and how it was chosen."""
        train, validation = self.features["train"], self.features["validation"]
        return fit_head(train, validation, num_classes=self.num_classes)

    @property
    def head(self) -> LinearHead:
        """The encoder's linear head."""
        return self.fitted_head.head

    @property
    def feature_caches(self) -> dict[str, FeatureCache]:
        """Features by split of the encoder, and of each baseline that there is.

        Keys are those of `records.NAMES`.
        """
        caches = {"encoder": self.features, "untrained": self.untrained_features}
        if isinstance(self.encoder, ReadOut):
            # Some of what a wider representation gains, any wider one would.
            caches["plain"] = self._cache(self.encoder.saved, "encoder")
            caches["patches"] = self.patch_features
        if input_size_problem(self.dataset) is None:
            caches["raw_input"] = self.input_features
        return {name: cache for name, cache in caches.items() if cache is not None}

    def each(self, splits: Sequence[str]) -> Iterator[tuple[str, list[Features]]]:
        """Yields features of the encoder, and of each baseline in turn.

        Args:
            splits: Names of splits.

        Yields:
            A key of `records.NAMES`, and features in the order of `splits`.
        """
        for name, cache in self.feature_caches.items():
            yield name, [cache[split] for split in splits]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; an `InputError` without labels."""
        return require_class_names(self.dataset)

    @property
    def num_classes(self) -> int:
        """The number of classes; an `InputError` without labels."""
        return len(self.class_names)

    @property
    def test(self) -> Split:
        """The test split; an `InputError` without one."""
        return require_test_split(self.dataset)

    def record(self, cls: type[RecordT], **values: object) -> RecordT:
        """Returns a record with the attributes that all of this context have in common.

        Args:
            cls: Type of the record.
            **values: Its other attributes.
        """
        values |= {
            "dataset": self.dataset.name,
            "encoder": getattr(self.encoder, "folder", None),
            "seed": self.seed,
            "data_fingerprint": self.dataset.fingerprint,
            "options": self.options,
            "read_out": getattr(self.encoder, "read_out", None),
        }
        if issubclass(cls, ClassificationRecord):
            values |= {
                "split": "test",
                "num_classes": self.num_classes,
                "num_train": self.dataset.train.num_examples,
                "num_validation": self.dataset.validation.num_examples,
                "num_test": self.test.num_examples,
            }
        return cls(**values)  # type: ignore[arg-type]

    def log_metrics(self, record: Record) -> None:
        """Prints a record's tables, and adds it to the run's `metrics.jsonl`."""
        for table in tables(record):
            print(table)
        if self.run is not None and self.keeps:
            self.run.create()
            self.run.append_metrics(to_json(record))

    def save_figure(self, figure: Figure, name: str, title: str) -> None:
        """Saves a figure in the run, where it keeps results, and prints its path.

        Args:
            figure: The figure.
            name: Name of its file.
            title: What it is, for the user.
        """
        if isinstance(self.encoder, ReadOut):
            # The report shows those of the encoder as it was trained.
            name += f"_{self.encoder.representation}_{self.encoder.average}"
        if self.run is not None and self.keeps:
            path = self.run.figures / f"{name}.png"
            save(figure, path, self.run.run_id)
            print(f"{title}: {path}")

    def tiles(self, split: Split, indices: Iterable[int]) -> list[Tile]:
        """Returns examples as they are drawn, each with its class or its file's name.

        Args:
            split: Examples of the dataset's kind.
            indices: Which of them.
        """
        numbers = list(indices)
        names = [pathlib.PurePath(split.names[i]).name for i in numbers]
        if split.labels is not None:
            names = [self.class_names[split.labels[i]] for i in numbers]
        images = self.dataset.display_images(split, numbers)
        return [Tile(image, name) for image, name in zip(images, names, strict=True)]

    def output(self, path: str | None, name: str) -> pathlib.Path:
        """Returns the path of an output file.

        Args:
            path: The path that was asked for, or `None`.
            name: Name of the file in the run otherwise.

        Raises:
            InputError: If there is neither a path nor a run.
        """
        if path is not None:
            return pathlib.Path(path)
        if self.run is None:
            raise InputError(
                "Expected output=PATH where there is no run. Received: output=None."
            )
        return self.run.path / name

    def _cache(self, encoder: Encoder, name: str) -> FeatureCache:
        if isinstance(encoder, ReadOut):
            name += "_read_out"
        folder = None if self.run is None else self.run.features / name
        return FeatureCache(encoder, self.dataset, folder)
