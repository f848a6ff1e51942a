"""The mode `knn_eval`: accuracy of the weighted kNN classifier, beside baselines."""

from vicreg_keras.evaluate.features import SPLITS
from vicreg_keras.evaluate.knn import KnnEvalRecord, knn_eval
from vicreg_keras.evaluate.records import NAMES
from vicreg_keras.figures.text_table import format_table, percent
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
    num_classes, test = context.num_classes, context.test
    results = {
        name: knn_eval(*features, num_classes=num_classes)
        for name, features in context.each(SPLITS)
    }
    lines = [("", "top-1", "top-5", "chosen on the validation split")]
    for name, result in reversed(results.items()):
        metrics, settings = result.metrics, result.settings
        chosen = f"k {settings.k}, temperature {settings.temperature:g}"
        lines.append(
            (NAMES[name], percent(metrics.top1), percent(metrics.top5), chosen)
        )
    print(
        f"Weighted kNN on {context.dataset.name}, test split, {test.num_examples} "
        "examples; cosine similarity; accuracy in percent."
    )
    print(format_table(lines))
    record = KnnEvalRecord(**context.record_fields, split="test", results=results)
    context.log_metrics(record)
    return record
