"""What is a recipe worth? One number, from held-out examples alone."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.features import Features, compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.linear_probe import fit_head
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.figures import text_table

# What a look while it trains takes, at most: it decides whether to go on.
_GLANCE_TRAIN, _GLANCE_HELD_OUT = 5000, 2000


class Objective(NamedTuple):
    """A way to judge an encoder; more is better.

    Attributes:
        title: what is measured, in a few words.
        labeled: whether it needs labels, and the training part's representations.
        score: from training features (`None` if not `labeled`), held-out features and
            the dataset that they are of.
    """

    title: str
    labeled: bool
    score: Callable[[Features | None, Features, Dataset], float]

    def text(self, score: float, std: float | None = None) -> str:
        """A score as a person reads it: accuracies in percent."""
        if self.labeled:
            return text_table.percent(score, std)
        return f"{score:.4g}" + ("" if std is None else f" ± {std:.2g}")


def _knn(train, held_out, dataset):
    return knn_accuracy(train, held_out, num_classes=dataset.num_classes).metrics.top1


def _linear(train, held_out, dataset):
    # Of the fit on training labels, before it is refitted on both parts.
    fitted = fit_head(train, held_out, num_classes=dataset.num_classes)
    return fitted.choice.trial.validation_top1


def _silhouette(train, held_out, dataset):
    try:
        clustering = cluster_eval(
            held_out,
            num_classes=dataset.num_classes,
            l2_normalized=dataset.columns is None,
        )
    except ValueError:
        # Fewer distinct representations than clusters: a collapse, and the worst.
        return -1.0
    silhouette = clustering.result.metrics.silhouette
    return -1.0 if silhouette is None else silhouette


def _rankme(train, held_out, dataset):
    return spectrum(held_out.representations).metrics.rankme


OBJECTIVES = {
    "knn": Objective("kNN accuracy on held-out examples, percent", True, _knn),
    "linear": Objective("linear accuracy on held-out examples, percent", True, _linear),
    "silhouette": Objective("silhouette of held-out clusters", False, _silhouette),
    "rankme": Objective("RankMe of held-out representations", False, _rankme),
}


def check_objective(name: str, dataset: Dataset) -> None:
    """Refuses, before any work, data that an objective can't be measured on.

    Args:
        name: a key of `OBJECTIVES`.
        dataset: what is trained and judged on.

    Raises:
        ValueError: if the name is not known, labels lack, or too little is held out.
    """
    if name not in OBJECTIVES:
        raise ValueError(
            f"Expected an objective among {', '.join(OBJECTIVES)}. Received: "
            f"objective={name}."
        )
    if OBJECTIVES[name].labeled and dataset.num_classes is None:
        free = ", ".join(key for key, one in OBJECTIVES.items() if not one.labeled)
        raise ValueError(
            f"Expected labels to search by {name}. Received: dataset={dataset.name}, "
            f"which has none. Choose an --objective without: {free}."
        )
    if dataset.validation.num_examples < 3:
        raise ValueError(
            "Expected three held-out examples or more to judge by. Received: "
            f"{dataset.validation.num_examples}. Raise --validation_fraction."
        )


def make_judge(
    objective: Objective, dataset: Dataset, *, glance: bool = False, seed: int = 0
) -> Callable[..., float]:
    """The function that gives an encoder its score.

    Args:
        objective: what is measured.
        dataset: its training and held-out parts are looked at, nothing else.
        glance: whether to look at a part of them only.
        seed: of that part.

    Returns:
        From an encoder to its score. It raises `FloatingPointError` where
        representations are not finite.
    """
    train, held_out = dataset.train, dataset.validation
    if glance:
        random = np.random.default_rng(seed)
        train = _some(train, _GLANCE_TRAIN, random)
        held_out = _some(held_out, _GLANCE_HELD_OUT, random)

    @functools.lru_cache(maxsize=1)  # Of an encoder that is looked at again and again.
    def compiled(encoder):
        return compile_encoder(encoder, dataset.example_shape)

    def judge(encoder):
        encode = compiled(encoder)
        try:
            parts = [
                extract_features(encode, part, verbose=0)
                for part in ([train, held_out] if objective.labeled else [held_out])
            ]
        except ValueError as error:
            # What a diverged training gives.
            raise FloatingPointError(str(error)) from error
        bank = parts[0] if objective.labeled else None
        return float(objective.score(bank, parts[-1], dataset))

    return judge


def _some(split, limit, random):
    return split.take(np.sort(random.permutation(split.num_examples)[:limit]))
