"""What is judged: an encoder, the data it is judged on, and where results go."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.evaluate import linear_eval, linear_probe
from vicreg_keras.evaluate.feature_cache import FeatureStore
from vicreg_keras.evaluate.features import Features, check_example_shape
from vicreg_keras.evaluate.records import Record, to_json
from vicreg_keras.models.saved_encoder import SavedEncoder, load_encoder
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.workdir.run_folder import RunFolder

NAMES = {
    "encoder": "VICReg encoder",
    "untrained": "untrained encoder",
    "raw_input": "raw input",
}


@dataclasses.dataclass
class Context:
    """An encoder on a dataset, with what has to be beaten.

    Representations are computed when they are first asked for.

    Attributes:
        encoder: what is judged.
        dataset: what it is judged on; not always what it was trained on.
        run: where numbers and pictures go, or `None`.
        untrained_encoder: the encoder as it was before training, or `None`.
        make_encoder: gives a new one that can be trained, with the run's weights if
            its argument is true, else untrained; `None` where there is no run.
        seed: of all draws.
    """

    encoder: SavedEncoder | keras.Model
    dataset: Dataset
    run: RunFolder | None = None
    untrained_encoder: keras.Model | None = None
    make_encoder: Callable[[bool], keras.Model] | None = None
    seed: int = 0

    @functools.cached_property
    def features(self) -> FeatureStore:
        """The encoder's, by split."""
        return self._store(self.encoder, "encoder")

    @functools.cached_property
    def untrained_features(self) -> FeatureStore | None:
        """The untrained encoder's, by split."""
        if self.untrained_encoder is None:
            return None
        return self._store(self.untrained_encoder, "untrained")

    @functools.cached_property
    def head(self) -> tuple[linear_probe.LinearHead, dict]:
        """The encoder's linear head, and how it was chosen."""
        return linear_probe.fit_head(
            self.features["train"],
            self.features["validation"],
            num_classes=self.dataset.num_classes,
        )

    def linear_top1(self) -> float:
        """Test accuracy of the linear head, in [0, 1]."""
        splits = [self.features[name] for name in ("train", "validation", "test")]
        numbers = linear_probe.cached_probe(
            *splits, num_classes=self.dataset.num_classes, fitted=self.head
        )
        return numbers["top1"]

    def each(
        self, splits: Sequence[str], *, trained: bool = True
    ) -> Iterator[tuple[str, list[Features]]]:
        """Features of these splits: the encoder's, and each baseline's in turn.

        Args:
            splits: names of splits.
            trained: whether the encoder comes first, or is left out.

        Yields:
            A key of `NAMES`, and features in the order of `splits`.
        """
        if trained:
            yield "encoder", [self.features[name] for name in splits]
        if self.untrained_features is not None:
            yield "untrained", [self.untrained_features[name] for name in splits]
        if linear_eval.why_no_inputs(self.dataset) is None:
            inputs = [linear_eval.input_features(self.dataset, name) for name in splits]
            yield "raw_input", inputs

    def require(self, what: str, *, labels: bool = False, test: bool = False) -> None:
        """Refuses, before any work, a dataset that lacks what a mode needs.

        Args:
            what: the mode, for the message.
            labels: whether examples must be labeled.
            test: whether there must be a test split.

        Raises:
            ValueError: if it lacks that.
        """
        name = self.dataset.name
        if labels and self.dataset.num_classes is None:
            raise ValueError(
                f"Expected a labeled dataset for {what}. Received: dataset={name}, "
                "which has no labels. Give the encoder a labeled one (--dataset)."
            )
        if test and self.dataset.test is None:
            raise ValueError(
                f"Expected a dataset with a test split for {what}. Received: "
                f"dataset={name}, which has none. Add a test part to it."
            )

    def keep(self, mode: str, numbers: Mapping) -> dict:
        """Adds a result, with what it is of, to the run's `metrics.jsonl`.

        Args:
            mode: as typed.
            numbers: what JSON can hold.

        Returns:
            The whole row.
        """
        row = {
            "mode": mode,
            "dataset": self.dataset.name,
            "encoder": getattr(self.encoder, "folder", None),
            "seed": self.seed,
            **numbers,
        }
        if self.run is not None:
            self.run.create()
            self.run.append_metrics(row)
        return row

    @property
    def record_fields(self) -> dict[str, Any]:
        """What every `Record` of this context has in common, by attribute."""
        return {
            "dataset": self.dataset.name,
            "encoder": getattr(self.encoder, "folder", None),
            "seed": self.seed,
        }

    def log_metrics(self, record: Record) -> None:
        """Adds a record to the run's `metrics.jsonl`, where there is a run."""
        if self.run is not None:
            self.run.create()
            self.run.append_metrics(to_json(record))

    def figure(self, name: str) -> pathlib.Path | None:
        """Where a picture goes, or `None` where there is no run."""
        return None if self.run is None else self.run.figures / f"{name}.png"

    def output(self, path: str | None, name: str) -> pathlib.Path:
        """Where a file goes: as asked for, or into the run.

        Args:
            path: what was asked for, or `None`.
            name: of the file in the run.

        Raises:
            ValueError: if there is neither.
        """
        if path is None and self.run is None:
            raise ValueError(
                "Expected --output=PATH where there is no run. Received: none. Say "
                "where the file shall go."
            )
        return pathlib.Path(path) if path is not None else self.run.path / name

    def _store(self, encoder: Callable[..., Any], name: str) -> FeatureStore:
        folder = self.run and self.run.features / name
        return FeatureStore(encoder, self.dataset, folder)


def open_context(
    settings: Settings,
    data: DataOptions,
    run: RunFolder | None,
    saved_model: str | None = None,
) -> Context:
    """What a person asks to be judged: a run's encoder, or one that lies elsewhere.

    Args:
        settings: of the run.
        data: What the encoder is evaluated on.
        run: whose encoder it is, and where results go.
        saved_model: path of another encoder, as of `load_encoder`.

    Raises:
        ValueError: if neither is given, or encoder and data don't fit.
    """
    if run is None and not saved_model:
        raise ValueError(
            "Expected --workdir=RUN or --saved_model=PATH. Received: neither. Name "
            "what is to be judged."
        )
    encoder = load_encoder(saved_model or run.path)
    dataset = open_dataset(data, settings.seed)
    check_example_shape(encoder, dataset.example_shape)
    if saved_model:
        return Context(encoder, dataset, run, seed=settings.seed)

    # Only a run says what its encoder looked like before training.
    def make_encoder(trained):
        if trained:
            return trained_encoder(settings, dataset, run)
        return build_encoder(settings, dataset)

    untrained = make_encoder(False)
    return Context(encoder, dataset, run, untrained, make_encoder, seed=settings.seed)
