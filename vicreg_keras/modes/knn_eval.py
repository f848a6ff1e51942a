"""The mode `knn_eval`: weighted kNN accuracy, beside the baselines."""

from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.modes import text_table
from vicreg_keras.modes.context import NAMES, Context


def run_knn_eval(context: Context) -> dict:
    """Judges the kNN classifier, prints the table, and keeps the numbers.

    Args:
        context: what is judged.

    Returns:
        The row that was kept.

    Raises:
        ValueError: if the dataset has no labels or no test split.
    """
    context.require("kNN evaluation", labels=True, test=True)
    num_classes = context.dataset.num_classes
    splits = ("train", "validation", "test")
    results = {
        name: knn_eval(*features, num_classes=num_classes)
        for name, features in context.each(splits)
    }
    rows = [("", "top-1", "top-5", "chosen on held-out labels")]
    for name in reversed(results):
        numbers = results[name]
        chosen = f"k {numbers['k']}, temperature {numbers['temperature']:g}"
        accuracies = (text_table.percent(numbers[key]) for key in ("top1", "top5"))
        rows.append((NAMES[name], *accuracies, chosen))
    print(
        f"Weighted kNN on {context.dataset.name}, test split, "
        f"{results['encoder']['num_test']} examples; cosine similarity; accuracy in "
        "percent."
    )
    print(text_table.format_table(rows))
    return context.keep("knn_eval", {"split": "test", "results": results})
