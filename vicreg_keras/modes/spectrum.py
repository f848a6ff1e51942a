"""The mode `spectrum`: ranks and spread of the representations, without labels."""

from types import SimpleNamespace

from vicreg_keras.evaluate import projection as planes
from vicreg_keras.evaluate.spectrum import diagnose_collapse, spectrum
from vicreg_keras.figures.spectrum import eigenvalue_decay
from vicreg_keras.figures.style import save
from vicreg_keras.modes import text_table
from vicreg_keras.modes.context import NAMES, Context
from vicreg_keras.training.scores import embedding_diagnosis

_SPECTRUM_ROWS = 25_600  # As many as RankMe's paper takes.


def run_spectrum(context: Context) -> dict:
    """Measures ranks and spread of training representations, and says what they mean.

    Args:
        context: what is judged.

    Returns:
        The row that was kept.
    """
    num_examples = context.dataset.train.num_examples
    picks = planes.sample(num_examples, _SPECTRUM_ROWS, context.seed)
    found = {}
    stores = {"encoder": context.features, "untrained": context.untrained_features}
    for name, features in stores.items():
        if features is not None:
            found[name] = spectrum(features["train"].representations[picks])
    diagnoses = [diagnose_collapse(found["encoder"], kind="representation")]
    # Of a run, what the loss saw is known, too: there the covariance term shows first.
    if context.make_encoder is not None:
        in_training = embedding_diagnosis(context.run)
        diagnoses += [in_training] if in_training else []
    rows = [("", "RankMe", "effective rank", "alpha", "std, mean", "dead", "of")]
    for name in reversed(found):
        numbers = found[name]
        alpha = numbers["alpha"]
        rows.append(
            (
                NAMES[name],
                f"{numbers['rankme']:.1f}",
                f"{numbers['effective_rank']:.1f}",
                "-" if alpha is None else f"{alpha:.2f}",
                f"{numbers['std_mean']:.3g}",
                str(numbers["dead_dimensions"]),
                str(numbers["width"]),
            )
        )
    print(f"Spectrum of {len(picks)} training representations, without labels.")
    print(text_table.format_table(rows))
    for found_verdict in diagnoses:
        print(f"{found_verdict['state'].capitalize()}. {found_verdict['text']}")
    path = context.figure("spectrum")
    if path is not None:
        drawn = {name: SimpleNamespace(**numbers) for name, numbers in found.items()}
        save(eigenvalue_decay(drawn), path)
        print(f"Its eigenvalues: {path}")
    return context.keep(
        "spectrum", {"split": "train", "results": found, "diagnoses": diagnoses}
    )
