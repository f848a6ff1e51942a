"""Sections on training: curves over epochs, ranks, and signs of collapse."""

from collections.abc import Iterable, Sequence

from vicreg_keras.evaluate.collapse import COLLAPSED_STD
from vicreg_keras.evaluate.knn import PUBLISHED_K, PUBLISHED_TEMPERATURE
from vicreg_keras.evaluate.records import NAMES, PretrainRecord
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.figures.spectrum import eigenvalue_decay
from vicreg_keras.figures.training import (
    accuracy_over_minutes,
    collapse_curves,
    loss_curves,
)
from vicreg_keras.report.elements import (
    Html,
    element,
    embed_figure,
    join,
    paragraph,
    table,
)
from vicreg_keras.report.runs import Run, last_records, missing

_METRICS = {
    "rankme": ("RankMe", ".1f"),
    "effective_rank": ("effective rank", ".1f"),
    "possible_rank": ("possible rank", "d"),
    "alpha": ("alpha, exponent of the eigenvalues' decay", ".2f"),
    "std_mean": ("standard deviation, mean over dimensions", ".3g"),
    "dead_dimensions": ("dead dimensions", "d"),
}


def training_section(runs: Sequence[Run]) -> Html:
    """Returns loss terms over epochs and the kNN accuracy over minutes.

    Args:
        runs: The runs of the page.
    """
    absent = missing(runs, PretrainRecord)
    epochs = _epochs(runs)
    if not epochs:
        return absent
    parts = [embed_figure(loss_curves(epochs), "loss")]
    if any("knn_top1" in one.metrics for each in epochs.values() for one in each):
        parts.append(embed_figure(accuracy_over_minutes(epochs), "accuracy"))
    text = (
        f"The kNN accuracy (k {PUBLISHED_K}, temperature {PUBLISHED_TEMPERATURE}, "
        "cosine similarity) is of the validation split, among fewer neighbors than in "
        "the kNN evaluation: the two are not to be compared."
    )
    return join([*parts, paragraph(text), absent])


def collapse_section(runs: Sequence[Run]) -> Html:
    """Returns what tells whether all images get the same embedding, or nearly.

    Args:
        runs: The runs of the page.
    """
    records = last_records(runs, SpectrumRecord)
    epochs = _epochs(runs)
    parts = []
    for name, record in records.items():
        whose = f"{name}: " if len(runs) > 1 else ""
        for diagnosis in record.diagnoses:
            healthy = diagnosis.state == "healthy"
            state = element("strong", f"{diagnosis.state.capitalize()}.")
            kind = f"diagnosis{'' if healthy else ' collapsed'}"
            parts.append(paragraph(whose, state, " ", diagnosis.text, kind=kind))
    if epochs:
        parts.append(embed_figure(collapse_curves(epochs), "collapse"))
    if records:
        spectra = {name: one.results["encoder"] for name, one in records.items()}
        if len(runs) == 1:
            (record,) = records.values()
            spectra = record.results
        figure = eigenvalue_decay(spectra)
        parts.append(embed_figure(figure, "eigenvalues"))
    text = (
        f"Under a standard deviation of {COLLAPSED_STD['embedding']}, all images have "
        "practically the same embedding, and nothing is learned. The ranks count the "
        "directions in which training representations vary, without labels; the "
        "embeddings' falls first where the covariance term fails."
    )
    parts.append(paragraph(text))
    if records:
        parts.append(_spectrum_table(records, len(runs)))
    absent = [missing(runs, cls) for cls in (PretrainRecord, SpectrumRecord)]
    return join([*parts, *absent])


def _epochs(runs: Sequence[Run]) -> dict[str, list[PretrainRecord]]:
    """Epochs of each run that has been trained, by the run's name."""
    epochs = {run.name: run.records[PretrainRecord] for run in runs}
    return {name: each for name, each in epochs.items() if each}


def _spectrum_table(records, num_runs):
    header, results = [""], []
    for run, record in records.items():
        for name, result in record.results.items():
            header.append(f"{run}, {NAMES[name]}" if num_runs > 1 else NAMES[name])
            results.append((record, result))
    lines = []
    for attribute, (label, form) in _METRICS.items():
        values = [getattr(result, attribute) for _, result in results]
        lines.append([label, *("-" if v is None else format(v, form) for v in values)])
    lines.append(["dimensions", *(one.representation_size for one, _ in results)])
    images = _either(f"{one.num_examples:,}" for one in records.values())
    sources = _either(f"{one.dataset}, {one.split} split" for one in records.values())
    seeds = _either(str(record.seed) for record in records.values())
    caption = (
        f"Spectrum of the representations of {images} images, {sources}; seed {seeds}."
    )
    return table(caption, header, lines, "numbers")


def _either(texts: Iterable[str]) -> str:
    return " or ".join(sorted(set(texts)))
