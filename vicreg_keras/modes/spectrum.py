"""The mode `spectrum`: ranks and spread of the representations, without labels."""

from vicreg_keras.evaluate.collapse import diagnose_collapse
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.evaluate.sampling import draw
from vicreg_keras.evaluate.spectrum import SpectrumRecord, spectrum
from vicreg_keras.figures.run_figures import eigenvalue_decay
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import SpectrumOptions
from vicreg_keras.training.scores import embedding_diagnosis

_SAMPLE_SIZE = 25_600  # As many as RankMe's paper takes.


def run(context: Context, options: SpectrumOptions) -> SpectrumRecord:
    """Measures ranks and spread of training representations, and diagnoses collapse.

    Args:
        context: Encoder, dataset and run.
        options: None are needed.

    Returns:
        The record that was logged.
    """
    sample = draw(context.dataset.train.num_examples, _SAMPLE_SIZE, context.seed)
    stores = {"encoder": context.features, "untrained": context.untrained_features}
    results = {
        name: spectrum(features["train"].representations[sample])
        for name, features in stores.items()
        if features is not None
    }
    diagnoses = [diagnose_collapse(results["encoder"], kind="representation")]
    # Of a run, what the loss saw is known, too: there the covariance term shows first.
    if context.run is not None and context.make_encoder is not None:
        epochs = read_records(context.run, PretrainRecord)
        found = [embedding_diagnosis(epoch.metrics) for epoch in epochs]
        diagnoses += list(filter(None, found))[-1:]
    record = context.record(
        SpectrumRecord,
        split="train",
        num_examples=len(sample),
        representation_size=context.features["train"].representations.shape[1],
        results=results,
        diagnoses=tuple(diagnoses),
    )
    context.log_metrics(record)
    for diagnosis in diagnoses:
        print(f"{diagnosis.state.capitalize()}. {diagnosis.text}")
    figure = eigenvalue_decay({"": record})
    context.save_figure(figure, "spectrum", "Its eigenvalues")
    return record
