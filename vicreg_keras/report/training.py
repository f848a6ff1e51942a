"""Sections on training: curves over epochs, ranks, and signs of collapse."""

from collections.abc import Sequence
from types import SimpleNamespace

from vicreg_keras.evaluate.knn import PUBLISHED_K, PUBLISHED_TEMPERATURE
from vicreg_keras.figures.spectrum import eigenvalue_decay
from vicreg_keras.figures.training import (
    accuracy_over_minutes,
    collapse_curves,
    loss_curves,
)
from vicreg_keras.report.elements import (
    Html,
    embed_figure,
    join,
    paragraph,
    strong,
    table,
)
from vicreg_keras.report.records import Record, missing
from vicreg_keras.report.results import SUBJECTS
from vicreg_keras.training.callbacks import COLLAPSED_STD

_SPECTRUM = {
    "rankme": ("RankMe", ".1f"),
    "effective_rank": ("effective rank", ".1f"),
    "possible_rank": ("possible rank", "d"),
    "alpha": ("alpha, exponent of the eigenvalues' decay", ".2f"),
    "std_mean": ("standard deviation, mean over dimensions", ".3g"),
    "dead_dimensions": ("dead dimensions", "d"),
    "representation_size": ("dimensions", "d"),
}


def training_section(records: Sequence[Record]) -> Html:
    """Returns loss terms over epochs and the kNN accuracy over minutes.

    Args:
        records: The runs.
    """
    absent = missing(records, "pretrain", lambda record: record.epochs)
    runs = {record.name: record.epochs for record in records if record.epochs}
    if not runs:
        return absent
    parts = [embed_figure(loss_curves(runs), "loss")]
    epochs = [epoch for one in runs.values() for epoch in one]
    if any("knn_top1" in epoch.metrics for epoch in epochs):
        parts.append(embed_figure(accuracy_over_minutes(runs), "accuracy"))
    text = (
        f"The kNN accuracy (k {PUBLISHED_K}, temperature {PUBLISHED_TEMPERATURE}, "
        "cosine similarity) is of the validation split, among fewer neighbors than in "
        "the kNN evaluation: the two are not to be compared."
    )
    return join([*parts, paragraph(text), absent])


def collapse_section(records: Sequence[Record]) -> Html:
    """Returns what tells whether all images get the same embedding, or nearly.

    Args:
        records: The runs.
    """
    parts = []
    for record in records:
        if "spectrum" in record.last:
            whose = f"{record.name}: " if len(records) > 1 else ""
            parts += _diagnoses(whose, record.last["spectrum"])
    runs = {record.name: record.epochs for record in records if record.epochs}
    if runs:
        parts.append(embed_figure(collapse_curves(runs), "collapse"))
    spectra = _spectra(records)
    if spectra:
        parts.append(embed_figure(eigenvalue_decay(spectra), "eigenvalues"))
    text = (
        f"Under a standard deviation of {COLLAPSED_STD}, all images have practically "
        "the same embedding, and nothing is learned. The ranks count the directions in "
        "which training representations vary, without labels; the embeddings' falls "
        "first where the covariance term fails."
    )
    parts.append(paragraph(text))
    if spectra:
        parts.append(_spectrum_table(records))
    return join(
        [
            *parts,
            missing(records, "pretrain", lambda record: record.epochs),
            missing(records, "spectrum"),
        ]
    )


def _diagnoses(whose, row):
    for found in row["diagnoses"]:
        look = "diagnosis" if found["state"] == "healthy" else "diagnosis collapsed"
        state = strong(f"{found['state'].capitalize()}.")
        yield paragraph(join([whose, state, " ", found["text"]]), look)


def _spectra(records):
    """Spectra of one run's encoders, or those of several runs' trained ones."""
    found = {
        record.name: {
            name: SimpleNamespace(**numbers)
            for name, numbers in record.last["spectrum"]["results"].items()
        }
        for record in records
        if "spectrum" in record.last
    }
    if len(records) == 1:
        return next(iter(found.values()), {})
    return {name: spectra["encoder"] for name, spectra in found.items()}


def _spectrum_table(records):
    known = {r.name: r.last["spectrum"] for r in records if "spectrum" in r.last}
    header, columns = [""], []
    for name, row in known.items():
        for subject, numbers in row["results"].items():
            whose = f"{name}, " if len(records) > 1 else ""
            header.append(f"{whose}{SUBJECTS[subject]}")
            columns.append(numbers)
    rows = []
    for key, (label, form) in _SPECTRUM.items():
        values = [column[key] for column in columns]
        rows.append([label, *("-" if v is None else format(v, form) for v in values)])
    sources = {f"{row['dataset']}, {row['split']} split" for row in known.values()}
    images = _either(f"{column['num_examples']:,}" for column in columns)
    seeds = _either(str(row["seed"]) for row in known.values())
    caption = (
        f"Spectrum of the representations of {images} images, {_either(sources)}; "
        f"seed {seeds}."
    )
    return table(caption, header, rows, "numbers")


def _either(texts):
    return " or ".join(sorted(set(texts)))
