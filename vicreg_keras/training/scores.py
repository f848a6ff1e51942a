"""Ranks and, with labels, kNN accuracy of an encoder while it trains."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.collapse import (
    COLLAPSE_METRICS,
    CollapseMetrics,
    Diagnosis,
    diagnose_collapse,
)
from vicreg_keras.evaluate.features import compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.model import VICReg
from vicreg_keras.workdir.run_folder import RunFolder

# At most so many examples: the scores are for watching, not results.
_MAX_BANK, _MAX_QUERIES = 5000, 2000
_MAX_EMBEDDINGS = 2000


def make_scorer(
    model: VICReg, dataset: Dataset, seed: int
) -> Callable[[], tuple[dict[str, float], str | None]]:
    """Returns a function that scores a model as it is at the time of the call.

    Args:
        model: Model in training.
        dataset: Examples of its training split vote, those of its validation split
            are classified.
        seed: Seed of the random subsets.

    Returns:
        A function without arguments that returns metrics by name, and a sentence if
        the embeddings have collapsed to few dimensions.
    """
    random = np.random.default_rng(seed)
    encode = compile_encoder(model.encoder, dataset.example_shape)
    bank = dataset.train.sample(_MAX_BANK, random)
    queries = dataset.validation.sample(_MAX_QUERIES, random)

    def score():
        features = extract_features(encode, bank, verbose=0)
        representations = features.representations
        ranks = spectrum(representations)
        names = ("rankme", "effective_rank", "alpha", "std_mean")
        # Alpha has no value where there are few dimensions.
        scores = {name: getattr(ranks, name) for name in names}
        scores = {name: value for name, value in scores.items() if value is not None}
        vectors = _embeddings(model, representations[:_MAX_EMBEDDINGS])
        embeddings = spectrum(vectors)
        for name in COLLAPSE_METRICS:
            scores[f"embedding_{name}"] = getattr(embeddings, name)
        if features.labels is not None:
            knn = knn_accuracy(
                features,
                extract_features(encode, queries, verbose=0),
                num_classes=dataset.num_classes,
            )
            scores |= {"knn_top1": knn.metrics.top1, "knn_bank": bank.num_examples}
        diagnosis = diagnose_collapse(embeddings, kind="embedding")
        # Collapse to one point is reported after every epoch.
        if diagnosis.state == "dimensional collapse":
            return scores, f"Dimensional collapse. {diagnosis.text}"
        return scores, None

    return score


def embedding_diagnosis(run: RunFolder) -> Diagnosis | None:
    """Returns whether a run's embeddings had collapsed when they were last scored.

    Args:
        run: Folder of a run.

    Returns:
        See `evaluate.collapse.diagnose_collapse`; `None` without scores.
    """
    for record in reversed(read_records(run, PretrainRecord)):
        if f"embedding_{COLLAPSE_METRICS[0]}" in record.metrics:
            values = (record.metrics[f"embedding_{name}"] for name in COLLAPSE_METRICS)
            metrics = CollapseMetrics(*values)  # type: ignore[arg-type]
            return diagnose_collapse(metrics, kind="embedding")
    return None


def _embeddings(model, representations):
    if model.projector is None:
        return representations
    embeddings = model.projector(representations, training=False)
    return tf.cast(embeddings, tf.float32).numpy()
