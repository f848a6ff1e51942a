"""Objectives of a search: the quality of an encoder on the validation split."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import sampling
from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.feature_cache import FeatureCache
from vicreg_keras.evaluate.features import Encoder, Features, extract_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.linear_probe import fit_head
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.figures.text_table import mean_and_std

# Examples of a score in training, at most: it decides whether to go on.
_QUICK_TRAIN, _QUICK_VALIDATION = 5000, 2000


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a search maximizes.

    Attributes:
        title: What is measured.
        labeled: Whether it needs labels and training representations.
        measure: Function of features by split and of their dataset, whose training and
            validation splits it reads, and no other.
    """

    title: str
    labeled: bool
    measure: Callable[[Mapping[str, Features] | FeatureCache, Dataset], float]

    def score(self, encoder: Encoder, dataset: Dataset) -> float:
        """Returns the score of an encoder; see `extract_features`."""
        splits = {"validation": dataset.validation}
        if self.labeled:
            splits["train"] = dataset.train
        features = {
            name: extract_features(encoder, split, verbose=0)
            for name, split in splits.items()
        }
        return float(self.measure(features, dataset))

    def text(self, scores: Sequence[float]) -> str:
        """Returns the mean of scores and their deviation; accuracy in percent."""
        form, scale = (".2f", 100) if self.labeled else (".4g", 1)
        return mean_and_std(scores, form, scale)


def _knn(features, dataset):
    train, validation = features["train"], features["validation"]
    result = knn_accuracy(train, validation, num_classes=dataset.num_classes)
    return result.metrics.top1


def _linear(features, dataset):
    # Of the fit on training labels, before it is refitted on both splits.
    train, validation = features["train"], features["validation"]
    return fit_head(train, validation, num_classes=dataset.num_classes).validation_top1


def _silhouette(features, dataset):
    validation = features["validation"]
    try:
        clustering = cluster_eval(
            validation,
            num_classes=dataset.num_classes,
            l2_normalized=dataset.columns is None,
        )
    except ValueError:
        # Fewer distinct representations than clusters: a collapse.
        return -1.0
    silhouette = clustering.result.metrics.silhouette
    return -1.0 if silhouette is None else silhouette


def _rankme(features, dataset):
    return spectrum(features["validation"].representations).rankme


OBJECTIVES = {
    "knn": Objective("kNN accuracy on the validation split", True, _knn),
    "linear": Objective("linear accuracy on the validation split", True, _linear),
    "silhouette": Objective("silhouette of the validation split", False, _silhouette),
    "rankme": Objective("RankMe of the validation split", False, _rankme),
}


def check_objective(name: str, dataset: Dataset) -> None:
    """Checks that a dataset has what an objective needs.

    Args:
        name: A key of `OBJECTIVES`.
        dataset: The dataset that is trained on.

    Raises:
        InputError: If labels are missing, or the validation split is too small.
    """
    if OBJECTIVES[name].labeled and dataset.num_classes is None:
        others = [key for key, one in OBJECTIVES.items() if not one.labeled]
        raise InputError(
            f"Expected labels for the objective {name}. Received: "
            f"dataset={dataset.name}, which has none. Choose one of objective="
            f"{', '.join(others)}."
        )
    if dataset.validation.num_examples < 3:
        raise InputError(
            "Expected three validation examples or more. Received: "
            f"{dataset.validation.num_examples}. Raise validation_fraction."
        )


def quick_subset(dataset: Dataset, seed: int) -> Dataset:
    """Returns random parts of training and validation split, for scores in training.

    Args:
        dataset: The dataset.
        seed: Seed of the draws.
    """
    train, validation = dataset.train, dataset.validation
    few = sampling.draw(train.num_examples, _QUICK_TRAIN, seed)
    fewer = sampling.draw(validation.num_examples, _QUICK_VALIDATION, seed)
    return dataclasses.replace(
        dataset, train=train.take(few), validation=validation.take(fewer)
    )
