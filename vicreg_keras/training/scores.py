"""Ranks and, with labels, kNN accuracy of an encoder while it trains."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate import collapse
from vicreg_keras.evaluate.features import compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.model import VICReg

# At most so many examples: the scores are for watching, not results.
_MAX_BANK, _MAX_QUERIES = 5000, 2000
_MAX_EMBEDDINGS = 2000
_RANKS = ("rankme", "effective_rank", "alpha", "std_mean")


def make_scorer(
    model: VICReg, dataset: Dataset, seed: int
) -> Callable[[], dict[str, float]]:
    """Returns a function that scores a model as it is at the time of the call.

    Args:
        model: Model in training.
        dataset: Examples of its training split vote, those of its validation split
            are classified.
        seed: Seed of the random subsets.

    Returns:
        A function without arguments that returns metrics by name.
    """
    random = np.random.default_rng(seed)
    encode = compile_encoder(model.encoder, dataset.example_shape)
    bank = dataset.train.sample(_MAX_BANK, random)
    queries = dataset.validation.sample(_MAX_QUERIES, random)

    def score():
        features = extract_features(encode, bank, verbose=0)
        ranks = spectrum(features.representations)
        embeddings = spectrum(_embeddings(model, features.representations))
        scores = {
            **{name: getattr(ranks, name) for name in _RANKS},
            **{
                f"embedding_{name}": getattr(embeddings, name)
                for name in collapse.COLLAPSE_METRICS
            },
        }
        if features.labels is not None:
            knn = knn_accuracy(
                features,
                extract_features(encode, queries, verbose=0),
                num_classes=dataset.num_classes,
            )
            scores |= {"knn_top1": knn.metrics.top1, "knn_bank": bank.num_examples}
        # Alpha has no value where there are few dimensions.
        return {name: value for name, value in scores.items() if value is not None}

    return score


def embedding_diagnosis(metrics: Mapping[str, float]) -> collapse.Diagnosis | None:
    """Returns whether embeddings have collapsed, according to an epoch's metrics.

    Args:
        metrics: Metrics of a `PretrainRecord`.

    Returns:
        See `evaluate.collapse.diagnose_collapse`; `None` without scores.
    """
    if f"embedding_{collapse.COLLAPSE_METRICS[0]}" not in metrics:
        return None
    values = {name: metrics[f"embedding_{name}"] for name in collapse.COLLAPSE_METRICS}
    found = collapse.CollapseMetrics(**values)  # type: ignore[arg-type]
    return collapse.diagnose_collapse(found, kind="embedding")


def _embeddings(model, representations):
    representations = representations[:_MAX_EMBEDDINGS]
    if model.projector is None:
        return representations
    embeddings = model.projector(representations, training=False)
    return tf.cast(embeddings, tf.float32).numpy()
