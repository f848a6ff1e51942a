"""Labels of a table: rows without one, and what they may be."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.sources.conftest import NUMBERS, csv_of, read_csv
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.data.sources.tables import load_table
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions


def test_rows_without_a_label_are_trained_on(tmp_path):
    cells = ["u", "", "v", "NA", "", "u", "v", ""]
    text = csv_of(a=[n / 7 for n in NUMBERS], y=cells)
    source = read_csv(tmp_path / "a.csv", text, label_column="y")
    assert source.class_names == ("u", "v")
    assert source.train.labels.tolist() == [0, 1, 0, 1] * 5
    assert source.train.names[:3] == ("row/0", "row/2", "row/5")
    assert source.unlabeled.names[:3] == ("row/1", "row/3", "row/4")
    assert source.unlabeled.labels is None and len(source.unlabeled) == 20
    np.testing.assert_array_equal(
        source.unlabeled.read([0, 1])[:, 0], np.float32([1 / 7, 3 / 7])
    )
    assert source.notes[0].startswith("20 of 40 rows have no 'y'")
    dataset = load_dataset(f"csv:{tmp_path}/a.csv", label_column="y")
    sizes = [len(s) for s in (dataset.train, dataset.validation, dataset.test)]
    assert sum(sizes) == 20 and len(dataset.pretraining) == sizes[0] + 20


@pytest.mark.parametrize(
    ("cells", "classes", "note"),
    [
        (["1.0", "2.0"], ("1", "2"), ""),
        (["1", "2", ""], ("1", "2"), "13 of 40 rows"),
        (["none", "mild"], ("mild", "none"), "'none' is a class"),
        (["+", "-"], ("+", "-"), "'-' is a class"),
        (["Cat", "cat", "dog"], ("Cat", "cat", "dog"), "differ in capitals"),
        (["+1", "-1"], ("-1", "1"), ""),
        (["007", "010"], ("007", "010"), "as they are written, '007'"),
        (["01", "1"], ("01", "1"), "as they are written"),
        (["1E2", "100", "2E1"], ("100", "1E2", "2E1"), "as they are written, '1E2'"),
        ([str(2**60), str(2**60 + 1)], (str(2**60), str(2**60 + 1)), ""),
    ],
    ids=str,
)
def test_classes(tmp_path, cells, classes, note):
    text = csv_of(a=[n / 7 for n in NUMBERS], y=cells)
    source = read_csv(tmp_path / "a.csv", text, label_column="y")
    assert source.class_names == classes
    assert note in " ".join(source.notes) and bool(note) == bool(source.notes)


def test_labels_of_other_types(tmp_path):
    path, a = tmp_path / "a.parquet", [n / 7 for n in NUMBERS]
    options = DataOptions(dataset=f"parquet:{path}", label_column="y")
    for cells, classes in (
        ([2**60, 2**60 + 1], (str(2**60), str(2**60 + 1))),
        ([10.0, 9.0], ("9", "10")),
        ([10.0, float("nan"), 9.0, 9.0], ("9", "10")),
    ):
        cells *= 40 // len(cells)
        pa.parquet.write_table(pa.table({"a": a, "y": cells}), path)
        assert load_table(options).class_names == classes
    pa.parquet.write_table(pa.table({"a": a, "y": [[1], [2]] * 20}), path)
    with pytest.raises(InputError, match="a class in every row.*another label_column"):
        load_table(options)


def test_labels_that_are_a_quantity_are_said(tmp_path):
    lines = [f"{n / 7},{n // 2}" for n in range(600)]
    text = "\n".join(["a,price", *lines])
    source = read_csv(tmp_path / "a.csv", text, label_column="price")
    (note,) = source.notes
    assert "looks like a regression target: 300 whole numbers in 600 rows" in note
