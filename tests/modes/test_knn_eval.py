"""Tests of the mode `knn_eval`."""

from vicreg_keras.evaluate.knn import KnnEvalRecord
from vicreg_keras.evaluate.records import NAMES, read_records
from vicreg_keras.modes import knn_eval
from vicreg_keras.modes.options import KnnEvalOptions


def test_accuracies_are_printed_and_logged(context, capsys):
    record = knn_eval.run(context, KnnEvalOptions())
    text = capsys.readouterr().out
    assert (record.dataset, record.seed, record.split) == ("digits", 0, "test")
    for name in ("encoder", "untrained", "raw_input"):
        assert NAMES[name] in text
        assert f"{100 * record.results[name].metrics.top1:.2f}" in text
    assert record.results["raw_input"].metrics.top1 > 0.8
    assert read_records(context.run, KnnEvalRecord) == [record]
