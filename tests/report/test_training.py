"""Sections on training, collapse and labels: curves, diagnoses and tables."""

import dataclasses

import pytest

from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.records import PretrainRecord, to_json
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.report.runs import read_runs
from vicreg_keras.report.tables import labels_section
from vicreg_keras.report.training import collapse_section, training_section


def log_epoch(run, epoch, **metrics):
    record = PretrainRecord(
        dataset="sevens", seed=0, epoch=epoch, step=epoch, minutes=1.0, metrics=metrics
    )
    run.append_metrics(to_json(record))


@pytest.fixture
def see(parse):
    """The parsed section of these runs, and the descriptions of its figures."""

    def see(section, *runs):
        text = f'<section id="s">{section(read_runs(runs))}</section>'
        page = parse(text)
        return page, [element.at["aria-label"] for element in page.all("svg")]

    return see


def test_training_shows_every_term_and_the_knn_accuracy(see, make_run):
    page, (loss, accuracy) = see(training_section, make_run())
    assert "(weighted sum), training: 38 at 1, 32 at 4." in loss
    assert "(weighted sum), validation: 41.8 at 1, 35.2 at 4." in loss
    assert "learning rate, training: 0.001 at 1, 0.00025 at 4." in loss
    assert "140 neighbors to choose from: 30 at 1.5, 60 at 6." in accuracy
    assert "k 20, temperature 0.07" in page.all("p")[0].text
    texts = {element.text for element in page.all("text")}
    assert {"invariance", "variance", "covariance", "minutes of training"} <= texts


def test_training_without_knn_accuracy_and_validation(see, make_run):
    run = make_run(epochs=0)
    log_epoch(run, 1, loss=2.0)
    _, figures = see(training_section, run)
    assert figures == ["loss (weighted sum), training: 2 at 1, 2 at 1."]


def test_a_run_without_training_among_others(see, make_run):
    runs = make_run("a"), make_run("b"), make_run("c", epochs=0)
    page, (loss, accuracy) = see(training_section, *runs)
    for figure in (loss, accuracy):
        assert ", a" in figure and ", b" in figure and ", c" not in figure
    (missing,) = (p for p in page.all("p") if p.at.get("class") == "missing")
    assert missing.text.startswith("c: not run yet: python main.py --mode=pretrain")


def test_collapse_shows_diagnosis_curves_and_spectrum(see, make_run, records):
    page, (curves, spectra) = see(collapse_section, make_run())
    assert (
        page.all("p")[0].text == f"Healthy. {records[SpectrumRecord].diagnoses[0].text}"
    )
    assert page.all("p")[0].at["class"] == "diagnosis"
    assert "training: 0.3 at 1, 0.525 at 4" in curves
    first = records[SpectrumRecord].results["encoder"].eigenvalues[0]
    assert f": {first:.4g} at 1" in spectra and "untrained encoder" in spectra
    table = page.table("s")
    assert table[0] == ["", "VICReg encoder", "untrained encoder"]
    results = records[SpectrumRecord].results.values()
    expected = [f"{result.rankme:.1f}" for result in results]
    assert table[1] == ["RankMe", *expected]
    assert "140 images, sevens, train split; seed 0" in page.all("caption")[0].text


def test_a_collapsed_encoder_is_marked(see, make_run, records):
    record = records[SpectrumRecord]
    state = {"state": "full collapse", "text": "All the same."}
    diagnosis = dataclasses.replace(record.diagnoses[0], **state)
    result = record.results["encoder"]
    result = dataclasses.replace(result, eigenvalues=(0.0,) * 12)
    results = record.results | {"encoder": result}
    record = dataclasses.replace(record, diagnoses=(diagnosis,), results=results)
    page, (_, spectra) = see(collapse_section, make_run(changed=[record]))
    assert page.all("p")[0].text == "Full collapse. All the same."
    assert "collapsed" in page.all("p")[0].at["class"]
    # Nothing of it is drawn.
    assert " trained encoder" not in spectra


def test_ranks_over_epochs(see, make_run):
    run = make_run(epochs=0, only=())
    for epoch in (1, 2):
        ranks = {"rankme": 10.0 * epoch, "effective_rank": 5.0}
        log_epoch(run, epoch, embedding_std=0.5, **ranks)
    _, (curves,) = see(collapse_section, run)
    assert curves.startswith("RankMe, representations, training: 10 at 1, 20 at 2.")
    assert "effective rank, representations, training: 5 at 1" in curves


def test_spectra_of_two_runs(see, make_run):
    page, (_, spectra) = see(collapse_section, make_run("a"), make_run("b"))
    assert page.all("p")[0].text.startswith("a: Healthy.")
    assert page.all("p")[1].text.startswith("b: Healthy.")
    assert "untrained" not in spectra and ", a: " in spectra and ", b: " in spectra
    assert page.table("s")[0][1::2] == ["a, VICReg encoder", "b, VICReg encoder"]


def test_accuracy_over_labels(see, make_run, records):
    page, (figure,) = see(labels_section, make_run())
    record = records[FinetuneRecord]
    low, high = (100 * result.metrics.top1 for result in record.finetuned)
    assert f"pretrained, fine-tuned: {low:.4g} at 14, {high:.4g} at 140." in figure
    assert "chance: 14.29" in figure
    table = page.table("s")
    assert [row[0] for row in table] == ["labels", "14 (10 %)", "140 (100 %)"]
    scratch = [f"{100 * result.metrics.top1:.2f}" for result in record.scratch]
    assert [row[3] for row in table[1:]] == scratch


def test_accuracy_over_labels_of_two_runs(see, make_run):
    runs = [make_run("a"), make_run("b"), make_run("c", only=())]
    page, (figure,) = see(labels_section, *runs)
    assert ", a, fine-tuned: " in figure and ", b, fine-tuned: " in figure
    assert "scratch" not in figure
    assert [element.text for element in page.all("h3")] == ["a", "b"]
    assert page.all("p")[0].text.startswith("c: not run yet")
