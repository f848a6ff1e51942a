"""The table of results: each metric in its place, beside its baselines."""

import dataclasses

import pytest

from vicreg_keras.evaluate.augmented_probe import (
    AugmentedProbeMetrics,
    AugmentedProbeResult,
    AugmentedProbeSettings,
)
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord, LinearEvalResult
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.report.results import results_section
from vicreg_keras.report.runs import read_runs

HEADER = ["", "VICReg encoder", "untrained encoder", "raw input", "chance"]


@pytest.fixture
def results(make_run, parse):
    """The table of a run, a list of cells per line, with these records changed."""

    def table(*changed, only=None):
        runs = read_runs([make_run(only=only, changed=changed)])
        text = f'<section id="results">{results_section(runs)}</section>'
        return parse(text).table("results")

    return table


def group(table, title, number=0):
    """The heading of a group, and its lines by name."""
    starts = [i for i, line in enumerate(table) if len(line) == 1]
    start = [i for i in starts if table[i][0].startswith(title)][number]
    end = next((i for i in starts if i > start), len(table))
    return table[start][0], {line[0]: line[1:] for line in table[start + 1 : end]}


def percents(results, attribute):
    """A metric of the encoder and of each baseline, as the table has it."""
    metrics = [getattr(one, "metrics", one) for one in results]
    return [f"{100 * getattr(one, attribute):.2f}" for one in metrics]


def replace_metrics(result, **metrics):
    """A result with other metrics."""
    metrics = dataclasses.replace(result.metrics, **metrics)
    return dataclasses.replace(result, metrics=metrics)


def test_linear_evaluation(results, records):
    record = records[LinearEvalRecord]
    table = results()
    assert table[0] == HEADER
    cached = [one.cached for one in record.results.values()]
    heading, cells = group(table, "Linear evaluation")
    assert cells["top-1"] == [*percents(cached, "top1"), "14.29"]
    assert cells["top-5"] == [*percents(cached, "top5"), "71.43"]
    assert "protocol cached" in heading and "sevens, test split, 70 images" in heading
    assert f"chosen: C {cached[0].settings.C:g}" in heading

    heading, cells = group(table, "Linear evaluation", 1)
    assert "5 labels per class; mean and standard deviation of 2 draws" in heading
    few = record.results["untrained"].few_labels.metrics
    assert cells["top-1"][1] == f"{100 * few.top1:.2f} ±\xa0{100 * few.top1_std:.2f}"
    assert cells["top-1"][3] == "14.29"


def test_knn_retrieval_and_clusters(results, records):
    table = results()
    found = records[KnnEvalRecord].results
    heading, cells = group(table, "k nearest neighbors")
    assert cells["top-1"] == [*percents(found.values(), "top1"), "14.29"]
    assert f"chosen: k {found['encoder'].settings.k}, temperature" in heading

    found = records[RetrieveRecord].results.values()
    heading, cells = group(table, "Retrieval")
    expected = [*percents(found, "mean_average_precision"), "14.29"]
    assert cells["mean average precision"] == expected
    assert "70 test images search 140 training images" in heading

    found = records[ClusterRecord].results.values()
    heading, cells = group(table, "Clusters")
    expected = [*percents(found, "matched_accuracy"), "14.29"]
    assert cells["matched with the classes"] == expected
    rand = [f"{one.metrics.adjusted_rand_index:.3f}" for one in found]
    assert cells["adjusted Rand index"] == [*rand, "0.000"]
    assert cells["silhouette"][3] == "-"
    assert "7 clusters" in heading and "seed 0" in heading


def test_few_classes_have_no_top_5(results, records):
    knn = records[KnnEvalRecord]
    without = {
        name: replace_metrics(one, top5=None) for name, one in knn.results.items()
    }
    linear = records[LinearEvalRecord]
    bare = {
        name: LinearEvalResult(
            cached=replace_metrics(one.cached, top5=None),
            few_labels=replace_metrics(one.few_labels, top5=None),
        )
        for name, one in linear.results.items()
    }
    table = results(
        dataclasses.replace(knn, results=without),
        dataclasses.replace(linear, results=bare),
    )
    assert not [line for line in table if line[0] == "top-5"]
    assert len([line for line in table if line[0] == "top-1"]) == 3


def test_omitted_raw_input(results, records):
    record = records[LinearEvalRecord]
    kept = {name: one for name, one in record.results.items() if name != "raw_input"}
    record = dataclasses.replace(record, results=kept)
    _, cells = group(results(record), "Linear evaluation")
    assert cells["top-1"][2] == "-"


def test_augmented_protocol(results, records):
    record = records[LinearEvalRecord]
    augmented = AugmentedProbeResult(
        AugmentedProbeMetrics(top1=0.5, top5=0.9, validation_top1=0.6, train_loss=1.0),
        AugmentedProbeSettings(learning_rate=0.3, epochs=100, seed=0),
    )
    only = {"encoder": LinearEvalResult(augmented=augmented)}
    record = dataclasses.replace(record, results=record.results | only)
    heading, cells = group(results(record), "Linear evaluation")
    assert "protocol augmented" in heading and "100 epochs" in heading
    assert "learning rate 0.3" in heading
    assert cells["top-1"] == ["50.00", "-", "-", "14.29"]


def test_clusters_without_labels(results, records):
    record = records[ClusterRecord]
    unlabeled = {
        "adjusted_rand_index": None,
        "normalized_mutual_information": None,
        "matched_accuracy": None,
    }
    found = {}
    for name, one in record.results.items():
        settings = dataclasses.replace(one.settings, num_classes=None)
        one = dataclasses.replace(one, settings=settings)
        found[name] = replace_metrics(one, **unlabeled)
    record = dataclasses.replace(record, results=found)
    _, cells = group(results(record, only=[ClusterRecord]), "Clusters")
    assert list(cells) == ["silhouette"]


def test_another_dataset_of_another_run_has_lines_of_its_own(make_run, records, parse):
    record = dataclasses.replace(records[KnnEvalRecord], dataset="eights")
    runs = read_runs([make_run("a"), make_run("b", changed=[record])])
    table = parse(f'<section id="s">{results_section(runs)}</section>').table("s")
    (top1, *_) = group(table, "k nearest neighbors")[1].items()
    assert top1[0] == "top-1, VICReg encoder"
    assert top1[1][0] != "-" and top1[1][1] == "-"
    (top1, *_) = group(table, "k nearest neighbors", 1)[1].items()
    assert top1[1][0] == "-" and top1[1][1] != "-"
    assert "eights" in group(table, "k nearest neighbors", 1)[0]
