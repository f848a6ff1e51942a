"""The table of exported files: what each costs, beside the encoder."""

from vicreg_keras.report.exports import files_section
from vicreg_keras.report.records import read_records


def section(runs):
    return f'<section id="files">{files_section(read_records(runs))}</section>'


def test_a_row_a_file(make_run, parse):
    text = section([make_run()])
    header, own, int8 = parse(text).table("files")
    assert header[0] == "" and header[-2:] == ["linear top-1", "kNN top-1"]
    assert own == ["the encoder", "4", "2.50", "-", "-", "90.00", "80.00"]
    expected = ["int8.tflite", "1", "0.50", "0.25", "0.987650", "89.00", "80.00"]
    assert int8 == expected
    assert "largest number is 7.5" in text and "70 test images" in text


def test_without_labels_there_is_no_accuracy(make_run, parse, rows):
    bare = [
        {name: value for name, value in one.items() if "top1" not in name}
        for one in rows["export"]["files"]
    ]
    run = make_run(changed={"export": rows["export"] | {"files": bare}})
    text = section([run])
    assert parse(text).table("files")[0][-1] == "least cosine"
    assert "Accuracies" not in text


def test_runs_beside_each_other_and_what_is_missing(make_run):
    text = section([make_run(), make_run("bare", modes=[])])
    assert "--mode=export --format=tflite --workdir=" in text
    assert "bare: not run yet" in text and "sevens: not run yet" not in text
    assert "<h3>sevens</h3>" in text and "<h3>bare</h3>" not in text
