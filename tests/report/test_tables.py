"""Tables of records: each metric in its place, beside its baselines."""

import dataclasses

import pytest

from vicreg_keras.evaluate.augmented_probe import (
    AugmentedProbeMetrics,
    AugmentedProbeResult,
    AugmentedProbeSettings,
)
from vicreg_keras.evaluate.clustering import ClusterRecord
from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord, LinearEvalResult
from vicreg_keras.evaluate.records import ExportRecord, PretrainRecord
from vicreg_keras.evaluate.retrieval import IndexMetrics, RetrieveRecord
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.report.tables import summary, tables

COMPARED = (LinearEvalRecord, KnnEvalRecord, RetrieveRecord, ClusterRecord)


@pytest.fixture
def table(records):
    """The only table of a record of this type, with these attributes changed."""

    def table(cls, **changed):
        (only,) = tables(dataclasses.replace(records[cls], **changed))
        widths = {len(line) for line in only.lines}
        assert len(widths) == 1
        return only

    return table


def lines_by_name(table):
    """Cells of each line by its first cell, without the header."""
    return {line[0]: list(line[1:]) for line in table.lines[1:]}


def percents(results, attribute):
    """A metric of each result, as tables have it."""
    metrics = [getattr(one, "metrics", one) for one in results]
    return [f"{100 * getattr(one, attribute):.2f}" for one in metrics]


def replace_metrics(result, **metrics):
    """A result with other metrics."""
    metrics = dataclasses.replace(result.metrics, **metrics)
    return dataclasses.replace(result, metrics=metrics)


def replace_settings(result, **settings):
    """A result with other settings."""
    settings = dataclasses.replace(result.settings, **settings)
    return dataclasses.replace(result, settings=settings)


def test_linear_evaluation(table, records):
    found = table(LinearEvalRecord)
    for text in ("sevens, test split", "protocol cached", "seed 0", "percent"):
        assert text in found.caption
    header, chance, *lines = found.lines
    assert header[1:4] == ("protocol", "top-1", "top-5")
    majority = "always the most frequent class: 14.29"
    assert chance == ("chance", "-", "14.29", "71.43", majority)
    assert [line[:2] for line in lines] == [
        (name, protocol)
        for name in ("raw input", "untrained encoder", "VICReg encoder")
        for protocol in ("cached", "5 labels per class")
    ]
    encoder = records[LinearEvalRecord].results["encoder"]
    cached, few = encoder.cached, encoder.few_labels.metrics
    chosen = f"C {cached.settings.C:g}"
    assert lines[-2][2:] == (*percents([cached], "top1"), lines[-2][3], chosen)
    assert lines[-1][2] == f"{100 * few.top1:.2f} ± {100 * few.top1_std:.2f}"
    assert "2 draws" in lines[-1][-1]


def test_linear_evaluation_that_did_not_converge_of_few_classes(table, records):
    result = records[LinearEvalRecord].results["raw_input"]
    cached = replace_metrics(result.cached, top5=None)
    cached = replace_settings(cached, converged=False)
    found = table(
        LinearEvalRecord, results={"raw_input": LinearEvalResult(cached=cached)}
    )
    assert found.lines[-1][3] == "-"
    assert found.lines[-1][-1].endswith(", not converged")


def test_omitted_raw_input(table, records):
    results = dict(records[LinearEvalRecord].results)
    del results["raw_input"]
    found = table(LinearEvalRecord, results=results, raw_input_omitted="too large")
    assert lines_by_name(found)["raw input"] == [
        "cached",
        "-",
        "-",
        "omitted: too large",
    ]


def test_augmented_protocol(table):
    augmented = AugmentedProbeResult(
        AugmentedProbeMetrics(top1=0.5, top5=0.9, validation_top1=0.6, train_loss=1.0),
        AugmentedProbeSettings(learning_rate=0.3, epochs=100, seed=0),
    )
    found = table(
        LinearEvalRecord, results={"encoder": LinearEvalResult(augmented=augmented)}
    )
    line = lines_by_name(found)["VICReg encoder"]
    assert line == ["augmented", "50.00", "90.00", "learning rate 0.3, 100 epochs"]


def test_knn(table, records):
    results = records[KnnEvalRecord].results
    found = table(KnnEvalRecord)
    lines = lines_by_name(found)
    assert lines["chance"] == ["14.29", "71.43", ""]
    assert lines["raw input"][:1] == percents([results["raw_input"]], "top1")
    assert lines["VICReg encoder"][:1] == percents([results["encoder"]], "top1")
    assert lines["VICReg encoder"][-1].startswith(f"k {results['encoder'].settings.k},")
    assert "test split, 70 examples" in found.caption


def test_knn_of_few_classes_has_no_top_5(table, records):
    results = {
        name: replace_settings(replace_metrics(one, top5=None), num_classes=5)
        for name, one in records[KnnEvalRecord].results.items()
    }
    lines = table(KnnEvalRecord, results=results).lines
    assert {line[2] for line in lines[1:]} == {"-"}


def test_retrieval_at_every_k(table, records):
    found = table(RetrieveRecord)
    assert found.lines[0] == ("", "raw input", "untrained encoder", "VICReg encoder")
    lines = lines_by_name(found)
    results = list(records[RetrieveRecord].results.values())[::-1]
    for k in results[0].recall:
        assert lines[f"recall at {k}"] == [
            f"{100 * one.recall[k]:.2f}" for one in results
        ]
    expected = percents(results, "mean_average_precision")
    assert lines["mean average precision"] == expected
    assert "70 test examples against 140 training ones" in found.caption
    assert "By chance, precision is 14.29." in found.caption


def test_index_beside_exact_search(records):
    metrics = IndexMetrics(
        recall=0.95,
        queries_per_second=3000.0,
        exact_queries_per_second=1000.0,
        build_seconds=0.5,
        num_bytes=2**20,
        exact_num_bytes=2**21,
    )
    changed = {"index": "HNSW32", "search_parameters": "x=1", "index_metrics": metrics}
    _, found = tables(dataclasses.replace(records[RetrieveRecord], **changed))
    assert found.lines[0] == ("", "recall@5", "queries/s", "times as fast", "MiB")
    assert lines_by_name(found) == {
        "HNSW32 (x=1)": ["0.9500", "3,000", "3.0", "1.0"],
        "exact search": ["1.0000", "1,000", "1.0", "2.0"],
    }


def test_clusters(table, records):
    found = table(ClusterRecord)
    lines = lines_by_name(found)
    assert list(found.lines[0][3:]) == ["matched accuracy", "NMI", "ARI"]
    assert lines["chance"] == ["-", "-", "14.29", "-", "0.000"]
    metrics = records[ClusterRecord].results["encoder"].metrics
    assert lines["VICReg encoder"][2] == f"{100 * metrics.matched_accuracy:.2f}"
    assert lines["VICReg encoder"][4] == f"{metrics.adjusted_rand_index:.3f}"
    assert "7 clusters (chosen by: classes)" in found.caption


def test_clusters_without_labels(table, records):
    results = {
        name: replace_settings(replace_metrics(one, matched_accuracy=None))
        for name, one in records[ClusterRecord].results.items()
    }
    results = {
        name: replace_settings(one, num_classes=None) for name, one in results.items()
    }
    found = table(ClusterRecord, results=results)
    assert list(found.lines[0]) == ["", "silhouette"]
    record = dataclasses.replace(records[ClusterRecord], results=results)
    (line,) = lines_by_name(summary({"run": [record]}))
    assert line.startswith("silhouette")


def test_spectrum(table, records):
    lines = lines_by_name(table(SpectrumRecord))
    assert list(lines) == ["untrained encoder", "VICReg encoder"]
    result = records[SpectrumRecord].results["encoder"]
    assert lines["VICReg encoder"][0] == f"{result.rankme:.1f}"
    assert lines["VICReg encoder"][2] == str(result.possible_rank)
    assert lines["VICReg encoder"][-1] == "12"
    assert "140 representations of sevens" in table(SpectrumRecord).caption


def test_fine_tuning(table, records):
    found = table(FinetuneRecord)
    assert [line[:2] for line in found.lines[1:]] == [
        ("14", "10 %"),
        ("140", "100 %"),
    ]
    record = records[FinetuneRecord]
    arms = (record.scratch, record.frozen, record.finetuned)
    for number, line in enumerate(found.lines[1:]):
        assert list(line[2:5]) == percents([arm[number] for arm in arms], "top1")
        assert "rates 0.1/0.1 from scratch" in line[-1]
    assert "42 validation labels" in found.caption


def test_each_file_has_a_line(table):
    found = table(ExportRecord)
    header, own, int8 = found.lines
    assert header[-3:-1] == ["linear top-1", "kNN top-1"]
    expected = ["the encoder", "4", "2.50", "-", "-", "-", "90.00", "80.00"]
    assert own == [*expected, "its weights"]
    expected = ["int8.tflite", "1", "0.50", "0.25", "0.01", "0.987650", "89.00"]
    assert int8 == [*expected, "80.00", "weights in int8"]
    assert "largest value is 7.5" in found.caption
    assert "70 test examples" in found.caption


def test_files_without_labels_have_no_accuracy(table, records):
    files = [
        dataclasses.replace(file, linear_top1=None, knn_top1=None)
        for file in records[ExportRecord].files
    ]
    found = table(ExportRecord, files=tuple(files))
    assert found.lines[0][-2] == "min cosine"
    assert "accuracies" not in found.caption


def test_a_record_of_training_has_no_table():
    record = PretrainRecord(
        dataset="x", seed=0, epoch=1, step=1, minutes=1.0, metrics={}
    )
    assert tables(record) == []


def test_summary_of_a_run_has_its_baselines(records):
    found = summary({"run": [records[cls] for cls in COMPARED]})
    assert "What pretraining added on sevens" in found.caption
    assert found.lines[0] == ("", "VICReg encoder", "untrained encoder", "raw input")
    lines = lines_by_name(found)
    assert list(lines) == [
        "linear top-1, cached",
        "linear top-1, 5 labels per class",
        "kNN top-1",
        "mean average precision",
        "clusters matched with classes",
    ]
    found = records[KnnEvalRecord].results.values()
    assert lines["kNN top-1"] == percents(found, "top1")
    assert "±" in lines["linear top-1, 5 labels per class"][0]


def test_summary_of_several_runs_has_their_encoders(records):
    other = dataclasses.replace(records[KnnEvalRecord], dataset="eights")
    runs = {"a": [records[KnnEvalRecord], records[ClusterRecord]], "b": [other]}
    found = summary(runs)
    (top1,) = percents([other.results["encoder"]], "top1")
    assert "encoder of each run on eights and sevens" in found.caption
    assert found.lines[0] == ("", "a", "b")
    lines = lines_by_name(found)
    assert lines["kNN top-1, sevens"] == [top1, "-"]
    assert lines["kNN top-1, eights"] == ["-", top1]
    assert lines["clusters matched with classes, sevens"][1] == "-"
