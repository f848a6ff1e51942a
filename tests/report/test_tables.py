"""Tables of exported files and of retrieval."""

import dataclasses

from vicreg_keras.evaluate.records import ExportRecord
from vicreg_keras.evaluate.retrieval import RetrieveRecord
from vicreg_keras.report.runs import read_runs
from vicreg_keras.report.tables import files_section, retrieval_section


def section(runs, draw=files_section):
    return f'<section id="files">{draw(read_runs(runs))}</section>'


def test_each_file_has_a_line(make_run, parse):
    text = section([make_run()])
    header, own, int8 = parse(text).table("files")
    assert header[0] == "" and header[-3:-1] == ["linear top-1", "kNN top-1"]
    expected = ["the encoder", "4", "2.50", "-", "-", "-", "90.00", "80.00"]
    assert own == [*expected, "its weights"]
    expected = ["int8.tflite", "1", "0.50", "0.25", "0.01", "0.987650", "89.00"]
    assert int8 == [*expected, "80.00", "weights in int8"]
    assert "largest value is 7.5" in text and "70 test examples" in text


def test_without_labels_there_is_no_accuracy(make_run, parse, records):
    record = records[ExportRecord]
    files = [
        dataclasses.replace(file, linear_top1=None, knn_top1=None)
        for file in record.files
    ]
    record = dataclasses.replace(record, files=tuple(files))
    text = section([make_run(changed=[record])])
    assert parse(text).table("files")[0][-2] == "min cosine"
    assert "accuracies" not in text


def test_runs_have_tables_or_the_command_for_one(make_run):
    text = section([make_run(), make_run("bare", only=[])])
    assert "--mode=export --format=tflite --workdir=" in text
    assert "bare: not run yet" in text and "sevens: not run yet" not in text
    assert "<h3>sevens</h3>" in text and "<h3>bare</h3>" not in text


def test_retrieval_at_every_k(make_run, records, parse):
    table = parse(section([make_run()], retrieval_section)).table("files")
    assert table[0] == ["", "VICReg encoder", "untrained encoder", "raw input"]
    metrics = list(records[RetrieveRecord].results.values())
    ks = [str(k) for k in metrics[0].precision]
    assert [line[0] for line in table[2 : 2 + len(ks)]] == ks
    start = table.index(["recall at"])
    line = next(line for line in table[start:] if line[0] == "5")
    assert line[1:] == [f"{100 * one.recall[5]:.2f}" for one in metrics]
