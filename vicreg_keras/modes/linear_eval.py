"""The mode `linear_eval`: linear accuracy beside what it must beat."""

from vicreg_keras.evaluate import linear_eval
from vicreg_keras.modes.context import Context


def run_linear_eval(
    context: Context,
    *,
    protocol: str = "cached",
    probe_epochs: int = 100,
    few_labels: int = 10,
    few_label_seeds: int = 5,
) -> dict:
    """Judges, prints the table, and keeps the numbers.

    Args:
        context: what is judged.
        protocol: `"cached"`, `"augmented"` or `"both"`.
        probe_epochs: of the augmented protocol.
        few_labels: labels a class of the few-label rows; 0 for none.
        few_label_seeds: draws of them.

    Returns:
        The row that was kept.

    Raises:
        ValueError: as `linear_eval.linear_eval`.
    """
    linear_eval.check(
        context.encoder, context.untrained_encoder, context.dataset, protocol
    )
    cached = protocol in ("cached", "both")
    result = linear_eval.linear_eval(
        context.encoder,
        context.dataset,
        protocol=protocol,
        untrained_encoder=context.untrained_encoder,
        features=context.features,
        untrained_features=context.untrained_features,
        fitted=context.head if cached else None,
        few_labels=few_labels,
        few_label_seeds=few_label_seeds,
        seed=context.seed,
        epochs=probe_epochs,
    )
    print(linear_eval.format_table(result))
    return context.keep("linear_eval", result)
