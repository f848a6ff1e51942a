"""The mode `knn_eval`: accuracy of the weighted kNN classifier, beside baselines."""

from vicreg_keras.evaluate.features import SPLITS
from vicreg_keras.evaluate.knn import KnnEvalRecord, KnnResult, knn_eval
from vicreg_keras.modes.baselines import evaluate_each
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import KnnEvalOptions


def run(context: Context, options: KnnEvalOptions) -> KnnEvalRecord:
    """Evaluates the kNN classifier, prints a table and logs the metrics.

    Args:
        context: Encoder, dataset and run.
        options: None are needed.

    Returns:
        The record that was logged.

    Raises:
        InputError: If the dataset has no labels or no test split.
    """
    num_classes, _ = context.num_classes, context.test
    results = evaluate_each(
        context,
        SPLITS,
        KnnResult,
        lambda _, splits: knn_eval(*splits, num_classes=num_classes),
    )
    record = context.record(KnnEvalRecord, split="test", results=results)
    context.log_metrics(record)
    return record
