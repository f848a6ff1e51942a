"""Typed records of a run: what each mode adds to `metrics.jsonl`, and reads from it.

A record names what it is of and holds results, which keep metrics (numbers to compare)
apart from settings (how they were made). The records of an evaluation are next to it:
`linear_eval.LinearEvalRecord`, `finetune.FinetuneRecord`, `knn.KnnEvalRecord`,
`retrieval.RetrieveRecord`, `clustering.ClusterRecord`, `spectrum.SpectrumRecord`; of
pretraining with neighbors `training.positives.PositivesRecord`.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from cattrs.errors import BaseValidationError
from cattrs.preconf.json import make_converter

from vicreg_keras.errors import InputError
from vicreg_keras.workdir.run_folder import RunFolder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
RecordT = TypeVar("RecordT", bound="Record")
MetricsT = TypeVar("MetricsT")
SettingsT = TypeVar("SettingsT")

# What is compared, by key of a record's results, and how it is displayed.
NAMES = {
    "encoder": "VICReg encoder",
    "plain": "VICReg encoder, as trained",
    "patches": "patch dictionary",
    "untrained": "untrained encoder",
    "raw_input": "raw input",
    "chance": "chance",
}

_CONVERTER = make_converter()


@dataclasses.dataclass(frozen=True)
class Result(Generic[MetricsT, SettingsT]):
    """Result of an evaluation.

    Attributes:
        metrics: Numbers to compare.
        settings: How they were made.
    """

    metrics: MetricsT
    settings: SettingsT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One line of `metrics.jsonl`.

    Attributes:
        mode: The mode that writes such records.
        dataset: Name of the dataset.
        encoder: Path of the SavedModel that was evaluated, or `None`.
        seed: Seed of all random draws.
        data_fingerprint: Of the data, see `Dataset`; `None` where none was read.
        options: Options of the mode, the data and the read-out that differ from their
            defaults; `None` where the record is not of one command.
        read_out: What is read out of the encoder, where it is not what it was trained
            by.
    """

    mode: ClassVar[str]
    dataset: str
    encoder: str | None = None
    seed: int
    data_fingerprint: str | None = None
    options: dict[str, Any] | None = None
    read_out: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainRecord(Record):
    """An epoch of pretraining.

    Attributes:
        epoch: From 1 on.
        step: Steps so far, over the whole run.
        minutes: Minutes of training so far.
        metrics: Logs of the epoch by name: loss terms, those of the validation split
            with the prefix `val_`, learning rate, speed and, in some epochs, ranks and
            kNN accuracy.
    """

    mode: ClassVar[str] = "pretrain"
    epoch: int
    step: int
    minutes: float
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataChangeRecord(Record):
    """A run that went on with changed data.

    Attributes:
        step: Step of the run.
        changes: What has changed, in words.
        fingerprint: Of the data from here on, see `Dataset`.
    """

    mode: ClassVar[str] = "data_change"
    step: int
    changes: tuple[str, ...]
    fingerprint: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RollbackRecord(Record):
    """A run that went back to an earlier state, after numbers that were not finite.

    Attributes:
        step: Step that it went back to.
        learning_rate_factor: What the learning rate is from here on, over the recipe's.
        reason: What was not finite.
    """

    mode: ClassVar[str] = "rollback"
    step: int
    learning_rate_factor: float
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """What an exported file costs; the first of a record is the encoder itself.

    Attributes:
        file: Name of the file.
        num_bytes: Its size.
        milliseconds: Median time of one example.
        description: Kind of arithmetic, or `None` for the encoder.
        input_dtype: Type of its input, or `None` where it is not reported.
        output_dtype: Type of its output, or `None`.
        differences: Differences from the encoder; `None` for the encoder.
        linear_top1: Accuracy of the encoder's linear head in [0, 1], or `None` without
            labels.
        knn_top1: kNN accuracy among the encoder's training representations, likewise.
        num_test: Test examples of both accuracies, likewise.
    """

    file: str
    num_bytes: int
    milliseconds: float
    description: str | None = None
    input_dtype: str | None = None
    output_dtype: str | None = None
    differences: "Differences | None" = None
    linear_top1: float | None = None
    knn_top1: float | None = None
    num_test: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences between a file's representations and the encoder's.

    Attributes:
        max_difference: Largest absolute difference of two values.
        mean_difference: Mean absolute difference.
        max_value: Largest absolute value of the encoder's.
        min_cosine: Smallest cosine of an example's two representations.
        num_examples: Validation examples that were compared.
    """

    max_difference: float
    mean_difference: float
    max_value: float
    min_cosine: float
    num_examples: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportRecord(Record):
    """Exported files beside the encoder.

    Attributes:
        paths: Folder of the version by format.
        files: The encoder, then each file.
    """

    mode: ClassVar[str] = "export"
    paths: dict[str, str]
    files: tuple[ExportedFile, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeMetrics:
    """What a recipe gives, trained from one seed.

    Attributes:
        seed: Seed of the run.
        validation_score: Objective of a search, or `None`.
        linear_top1: Test accuracy in [0, 1], or `None` without labels or test split.
        knn_top1: Test accuracy in [0, 1], likewise.
        effective_rank: Effective rank of validation representations, or `None`.
        rankme: RankMe of validation representations, or `None`.
        state: State that `diagnose_collapse` gives them, or `None`.
        embedding_std: Mean standard deviation of validation embeddings after the last
            epoch; `None` for an untrained encoder.
        embedding_state: State of the embeddings in training, likewise.
    """

    seed: int
    validation_score: float | None = None
    linear_top1: float | None = None
    knn_top1: float | None = None
    effective_rank: float | None = None
    rankme: float | None = None
    state: str | None = None
    embedding_std: float | None = None
    embedding_state: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblateRecord(Record):
    """Variants of the loss, each trained from each seed.

    Attributes:
        split: Split of the accuracies.
        seeds: Seeds of the runs.
        epochs: Epochs of each run.
        variants: Replaced settings by the variant's name.
        results: By the variant's name, `"untrained"` included, one for each seed.
    """

    mode: ClassVar[str] = "ablate"
    split: str
    seeds: tuple[int, ...]
    epochs: int
    variants: dict[str, dict[str, float]]
    results: dict[str, tuple[RecipeMetrics, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best recipe of a search against the default one.

    Attributes:
        text: The conclusion, one or two sentences.
        better: Whether the best recipe is better; `None` where the seeds do not tell.
        compared_by: Metric of the comparison, or `None` without a best recipe.
        difference: Mean difference, likewise.
        interval: Its 95 % confidence interval, or `None` for one seed.
    """

    text: str
    better: bool | None = None
    compared_by: str | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchRecord(Record):
    """A search over recipes, and its best recipe beside the default one.

    Attributes:
        objective: Name of the objective, which is of the validation split.
        num_trials: Number of trials.
        best_trial: Number of the best trial.
        best_value: Its objective.
        best_values: Its values of the varied options, by name.
        epochs: Epochs of the compared runs.
        trial_epochs: Epochs of a trial.
        seeds: Seeds of the compared runs.
        results: By the recipe's name, one for each seed.
        comparison: The best recipe against the default one.
        earlier_comparisons: How often this search had been compared before.
    """

    mode: ClassVar[str] = "search"
    objective: str
    num_trials: int
    best_trial: int
    best_value: float
    best_values: dict[str, bool | int | float | str]
    epochs: int
    trial_epochs: int
    seeds: tuple[int, ...]
    results: dict[str, tuple[RecipeMetrics, ...]]
    comparison: Comparison
    earlier_comparisons: int = 0


def to_json(record: "DataclassInstance") -> dict[str, object]:
    """Returns a record, or any dataclass of a result, as JSON can hold it.

    Args:
        record: A dataclass of numbers, texts, tuples, dicts and dataclasses.
    """
    mode = {"mode": record.mode} if isinstance(record, Record) else {}
    return {**mode, **_CONVERTER.unstructure(record)}


def from_json(cls: type[T], values: Mapping[str, object]) -> T:
    """Returns the dataclass that `to_json` was given.

    Args:
        cls: Its type. Missing attributes take their defaults; unknown keys are ignored.
        values: What `to_json` returned, fresh or from JSON.

    Raises:
        InputError: If an attribute without a default is missing, or of another type.
    """
    try:
        return _CONVERTER.structure(values, cls)
    except (BaseValidationError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected a {cls.__name__}. Received: {str(values)[:80]}... Run the mode "
            "again: another version of the program has written it."
        ) from error


def read_records(run: RunFolder, cls: type[RecordT]) -> list[RecordT]:
    """Returns a run's records of one type, the oldest first.

    Example:
    >>> read_records(run, PretrainRecord)[-1].metrics["loss"]

    Args:
        run: Folder of the run.
        cls: Type of the records.

    Raises:
        InputError: If another version of the program has written them.
    """
    return [from_json(cls, values) for values in run.read_metrics(cls.mode)]


def last_records(
    runs: Mapping[str, RunFolder], cls: type[RecordT]
) -> dict[str, RecordT]:
    """Returns the last record of each run that has one of this type.

    Args:
        runs: Folders by the run's name.
        cls: Type of the records.
    """
    records = {name: read_records(run, cls) for name, run in runs.items()}
    return {name: found[-1] for name, found in records.items() if found}
