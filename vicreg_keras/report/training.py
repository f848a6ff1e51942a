"""How did training go, and did anything collapse? Curves over epochs, and ranks."""

from collections.abc import Sequence

from vicreg_keras.evaluate.knn import PUBLISHED_K, PUBLISHED_TEMPERATURE
from vicreg_keras.figures.style import HELD_OUT, TRAIN, UNTRAINED
from vicreg_keras.report.charts import DASHED, Series, line_chart, run_series
from vicreg_keras.report.elements import Html, join, paragraph, strong, table
from vicreg_keras.report.records import Record, missing
from vicreg_keras.report.results import SUBJECTS
from vicreg_keras.training.callbacks import COLLAPSED_STD

_TERMS = {
    "loss": "Loss, weighted sum of its terms",
    "invariance_loss": "Invariance",
    "variance_loss": "Variance (hinge)",
    "covariance_loss": "Covariance",
    "learning_rate": "Learning rate",
}
_RANKS = {
    "rankme": "RankMe",
    "effective_rank": "Effective rank of the covariance",
    "embedding_effective_rank": "The same of the embeddings",
}
_SPECTRUM = {
    "rankme": ("RankMe", ".1f"),
    "effective_rank": ("effective rank", ".1f"),
    "possible_rank": ("possible rank", "d"),
    "alpha": ("alpha, exponent of the eigenvalues' decay", ".2f"),
    "std_mean": ("standard deviation, mean over dimensions", ".3g"),
    "dead_dimensions": ("dead dimensions", "d"),
    "width": ("dimensions", "d"),
}


def training_section(records: Sequence[Record]) -> Html:
    """Loss terms and the kNN score over epochs.

    Args:
        records: the runs.
    """
    missed = missing(records, "pretrain", lambda record: record.epochs)
    if not any(record.epochs for record in records):
        return missed
    charts = [_over_epochs(records, name, title) for name, title in _TERMS.items()]
    charts.append(_knn_chart(records))
    if len(records) == 1:
        which = "On training images, and on held-out ones where they were looked at."
    else:
        which = "On training images, a line a run."
    text = (
        f"{which} The kNN score (k {PUBLISHED_K}, temperature {PUBLISHED_TEMPERATURE}, "
        "cosine similarity) is of training images held out. Fewer images vote in it "
        "than in the kNN evaluation: the two are not to be compared."
    )
    return join([_side_by_side(charts), paragraph(text), missed])


def collapse_section(records: Sequence[Record]) -> Html:
    """What tells whether all images get the same embedding, or nearly.

    Args:
        records: the runs.
    """
    diagnoses, spectra = [], {}
    for record in records:
        if "spectrum" in record.last:
            row = record.last["spectrum"]
            spectra[record.name] = row["results"]
            whose = f"{record.name}: " if len(records) > 1 else ""
            for found in row["diagnoses"]:
                state = found["state"].capitalize()
                look = (
                    "diagnosis"
                    if found["state"] == "healthy"
                    else "diagnosis collapsed"
                )
                text = join([whose, strong(f"{state}."), " ", found["text"]])
                diagnoses.append(paragraph(text, look))
    charts = [
        _over_epochs(
            records,
            "embedding_std",
            "Embeddings' standard deviation",
            level=(1.0, "where the variance term wants it"),
            from_zero=True,
        )
    ]
    charts += [
        _over_epochs(records, name, title, from_zero=True)
        for name, title in _RANKS.items()
    ]
    charts.append(_eigenvalues(records, spectra))
    text = (
        f"Under {COLLAPSED_STD}, all images have practically the same embedding, and "
        "nothing is learned. The ranks count the directions in which training "
        "representations vary, without labels; the embeddings' falls first where the "
        "covariance term fails."
    )
    parts = [*diagnoses, _side_by_side(charts), paragraph(text)]
    if spectra:
        parts.append(_spectrum_table(records, spectra))
    return join(
        [
            *parts,
            missing(records, "pretrain", lambda record: record.epochs),
            missing(records, "spectrum"),
        ]
    )


def _over_epochs(records, name, title, **look):
    """A chart of one number: training and held out, or a line a run."""
    if len(records) > 1:
        series = [
            run_series(number, record.name, _points(record.epochs, name))
            for number, record in enumerate(records)
        ]
    else:
        (record,) = records
        series = [
            Series("training", _points(record.epochs, name), TRAIN),
            _held_out(_points(record.epochs, f"val_{name}")),
        ]
    return line_chart(title, series, x_label="epoch", **look)


def _points(epochs, name, scale=1.0):
    return [(row["epoch"], scale * row[name]) for row in epochs if name in row]


def _held_out(points):
    return Series("held out", points, HELD_OUT, DASHED)


def _knn_chart(records):
    banks = {
        int(row["knn_bank"])
        for record in records
        for row in record.epochs
        if "knn_bank" in row
    }
    if not banks:
        return Html("")
    votes = " to ".join(f"{bank:,}" for bank in sorted({min(banks), max(banks)}))
    series = []
    for number, record in enumerate(records):
        points = _points(record.epochs, "knn_top1", 100)
        if len(records) > 1:
            series.append(run_series(number, record.name, points))
        else:
            series.append(_held_out(points))
    return line_chart(
        f"kNN top-1, percent ({votes} images vote)",
        series,
        x_label="epoch",
        from_zero=True,
    )


def _eigenvalues(records, spectra):
    series = []
    for number, record in enumerate(records):
        for context, numbers in spectra.get(record.name, {}).items():
            points = list(enumerate(numbers["eigenvalues"], start=1))
            # What lies lower is of no account, and would squeeze what is.
            points = [(index, share) for index, share in points if share >= 1e-8]
            if len(records) == 1 and context == "untrained":
                series.append(Series(SUBJECTS[context], points, UNTRAINED, DASHED))
            elif len(records) == 1:
                series.append(Series(SUBJECTS[context], points, TRAIN))
            elif context == "encoder":
                series.append(run_series(number, record.name, points))
    return line_chart(
        "Eigenvalues, share of the variance",
        series,
        x_label="index",
        logarithmic_x=True,
        logarithmic_y=True,
    )


def _spectrum_table(records, spectra):
    header, columns, counts = [""], [], set()
    for name, results in spectra.items():
        for context in SUBJECTS:
            if context in results:
                own = results[context]
                whose = f"{name}, " if len(records) > 1 else ""
                header.append(f"{whose}{SUBJECTS[context]}")
                columns.append(own)
                counts.add(own["num_rows"])
    rows = []
    for key, (label, form) in _SPECTRUM.items():
        values = [column[key] for column in columns]
        rows.append([label, *("-" if v is None else format(v, form) for v in values)])
    known = [r.last["spectrum"] for r in records if "spectrum" in r.last]
    sources = {f"{row['dataset']}, {row['split']} split" for row in known}
    images = _either(f"{count:,}" for count in counts)
    seeds = _either(str(row["seed"]) for row in known)
    caption = (
        f"Spectrum of the representations of {images} images, {_either(sources)}; "
        f"seed {seeds}."
    )
    return table(caption, header, rows, "numbers")


def _either(texts):
    return " or ".join(sorted(set(texts)))


def _side_by_side(charts):
    return join([Html('<div class="charts">\n'), *charts, Html("</div>\n")])
