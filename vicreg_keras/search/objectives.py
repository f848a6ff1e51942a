"""Objectives of a search: the quality of an encoder on the validation split."""

import dataclasses
import functools
import statistics
from collections.abc import Callable

import keras

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate import sampling
from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.features import Features, compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.linear_probe import fit_head
from vicreg_keras.evaluate.spectrum import spectrum

# Examples of a score in training, at most: it decides whether to go on.
_QUICK_TRAIN, _QUICK_VALIDATION = 5000, 2000


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a search maximizes.

    Attributes:
        title: What is measured, with its unit.
        labeled: Whether it needs labels and training representations.
        score: Function of training features (`None` if not `labeled`), validation
            features and their dataset.
    """

    title: str
    labeled: bool
    score: Callable[[Features | None, Features, Dataset], float]

    def text(self, *scores: float) -> str:
        """Returns a score, or mean and deviation of several; accuracy in percent."""
        scale, digits = (100, ".2f") if self.labeled else (1, ".4g")
        text = f"{scale * statistics.fmean(scores):{digits}}"
        if len(scores) > 1:
            text += f" ± {scale * statistics.stdev(scores):{digits}}"
        return text


def _knn(train, validation, dataset):
    result = knn_accuracy(train, validation, num_classes=dataset.num_classes)
    return result.metrics.top1


def _linear(train, validation, dataset):
    # Of the fit on training labels, before it is refitted on both splits.
    fitted = fit_head(train, validation, num_classes=dataset.num_classes)
    return fitted.validation_top1


def _silhouette(train, validation, dataset):
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


def _rankme(train, validation, dataset):
    return spectrum(validation.representations).rankme


OBJECTIVES = {
    "knn": Objective("kNN accuracy, validation split, percent", True, _knn),
    "linear": Objective("linear accuracy, validation split, percent", True, _linear),
    "silhouette": Objective("silhouette, validation split", False, _silhouette),
    "rankme": Objective("RankMe, validation split", False, _rankme),
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


def make_score(
    objective: Objective, dataset: Dataset, *, quick: bool = False, seed: int = 0
) -> Callable[[keras.Model], float]:
    """Returns a function from an encoder to its score.

    The function raises `FloatingPointError` if representations are not finite.

    Args:
        objective: What is measured.
        dataset: Its training and validation splits are read, and no other.
        quick: Whether to read random subsets of them only.
        seed: Seed of the subsets.
    """
    train, validation = dataset.train, dataset.validation
    if quick:
        train = _subset(train, _QUICK_TRAIN, seed)
        validation = _subset(validation, _QUICK_VALIDATION, seed)
    splits = [train, validation] if objective.labeled else [validation]

    @functools.lru_cache(maxsize=1)  # The same encoder is scored several times.
    def compiled(encoder):
        return compile_encoder(encoder, dataset.example_shape)

    def score(encoder):
        encode = compiled(encoder)
        try:
            features = [extract_features(encode, split, verbose=0) for split in splits]
        except ValueError as error:
            # What a diverged training gives.
            raise FloatingPointError(str(error)) from error
        train_features = features[0] if objective.labeled else None
        return float(objective.score(train_features, features[-1], dataset))

    return score


def _subset(split, size, seed):
    return split.take(sampling.draw(split.num_examples, size, seed))
