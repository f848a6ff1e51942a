"""Which modes judge an encoder? By the name that a person types."""

from collections.abc import Sequence

from vicreg_keras.modes.context import Context
from vicreg_keras.modes.embed import run_embed
from vicreg_keras.modes.evaluate import run_evaluate
from vicreg_keras.modes.export import run_export
from vicreg_keras.modes.finetune import run_finetune
from vicreg_keras.modes.linear_eval import run_linear_eval


def _finetune(
    context: Context,
    *,
    label_fractions: Sequence[str] = ("0.01", "0.1", "1"),
    finetune_epochs: int = 20,
) -> dict:
    """`run_finetune` as it is asked for at the command line."""
    if context.make_encoder is None:
        raise ValueError(
            "Expected --workdir=RUN for --mode=finetune: a SavedModel alone can't be "
            "trained. Received: none."
        )
    if context.dataset.columns is not None:
        raise ValueError(
            "Expected images for --mode=finetune. Received: "
            f"dataset={context.dataset.name}, rows of numbers. Use --mode=linear_eval."
        )
    try:
        fractions = [float(text) for text in label_fractions]
    except ValueError as error:
        raise ValueError(
            "Expected --label_fractions=0.01,0.1,1: numbers above 0 and up to 1. "
            f"Received: --label_fractions={','.join(label_fractions)}."
        ) from error
    return run_finetune(
        context,
        make_encoder=context.make_encoder,
        label_fractions=fractions,
        epochs=finetune_epochs,
    )


# Each is called with a `Context` and with the flags that are its own, by their names.
MODES = {
    "linear_eval": run_linear_eval,
    "embed": run_embed,
    "finetune": _finetune,
    "evaluate": run_evaluate,
    "export": run_export,
}
