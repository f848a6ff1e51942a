"""Tests of tables in files: inferred columns, types, labels."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.sources.conftest import LETTERS, NUM_ROWS, NUMBERS, csv_of, read_csv
from vicreg_keras.data.columns import Column
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.data.sources import table_files
from vicreg_keras.data.sources.tables import load_table
from vicreg_keras.settings import DataOptions

# Inferred columns.


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2.5", "+3e2", ".5"], [1, -2.5, 300, 0.5]),
        (["1", " 2 ", " ", " ? "], [1, 2, np.nan, np.nan]),
        (["1", "", "NA", "nan", "NULL", "?", "None"], [1, *[np.nan] * 6]),
        (["true", "False", "NA"], [1, 0, np.nan]),
        (["1970-01-02", "2024-02-29", ""], [1, 19782, np.nan]),
        (["1970-01-01 06:00", "1970-01-01T12:00:00"], [0.25, 0.5]),
        (["1970-01-02T00:00:00Z", "1970-01-02T00:00:00+12:00"], [1, 0.5]),
        (["7", "7"], [7, 7]),
    ],
    ids=str,
)
def test_numbers(tmp_path, cells, values):
    source = read_csv(tmp_path / "a.csv", csv_of(a=cells, b=[1]))
    assert [one.name for one in source.columns] == ["a", "b"]
    assert {one.categories for one in source.columns} == {None}
    rows = source.train.read()
    assert rows.dtype == np.float32 and rows.shape == (NUM_ROWS, 2)
    np.testing.assert_array_equal(rows[: len(cells), 0], np.float32(values))


@pytest.mark.parametrize(
    ("cells", "categories", "codes"),
    [
        (["b", "a", " b ", "", '"c, d"'], ("a", "b", "c, d"), [1, 0, 1, np.nan, 2]),
        # Numbers and text, neither of them a few mistakes among the other.
        (["1", "2", "many", "NA"], ("1", "2", "many"), [0, 1, 2, np.nan]),
        (["true", "maybe"], ("maybe", "true"), [1, 0]),
        (["2024-01-01", "later"], ("2024-01-01", "later"), [0, 1]),
        (["2024-01-01", "5"], ("2024-01-01", "5"), [0, 1]),
        (["é", "ä"], ("ä", "é"), [1, 0]),
    ],
    ids=str,
)
def test_categories(tmp_path, cells, categories, codes):
    source = read_csv(tmp_path / "a.csv", csv_of(a=cells, b=[1]))
    assert source.columns == (Column("a", categories), Column("b"))
    np.testing.assert_array_equal(source.train.read()[: len(cells), 0], codes)


def test_the_last_block_may_decide_what_a_column_is(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_BLOCK_BYTES", 256)
    cells = ["1"] * 150 + [""] * 150 + ["high", "low"] * 50
    text = "a,b\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    source = read_csv(tmp_path / "a.csv", text, numeric_columns=("b",))
    assert source.columns[0] == Column("a", ("1", "high", "low"))
    rows = source.train.read()
    np.testing.assert_array_equal(rows[:, 1], np.arange(400))
    codes = [0] * 150 + [np.nan] * 150 + [1, 2] * 50
    np.testing.assert_array_equal(rows[:, 0], codes)


def test_header_is_read_as_spreadsheets_write_it(tmp_path):
    text = b'\xef\xbb\xbf"a, b", c\r\n1,2\r\n\r\n3,"4"\r\n'
    source = read_csv(tmp_path / "a.csv", text)
    assert source.columns == (Column("a, b"), Column("c"))
    np.testing.assert_array_equal(source.train.read(), [[1, 2], [3, 4]])
    assert source.train.names == ("row/0", "row/1")
    assert source.train.labels is None and source.class_names is None


def test_quoted_text_may_have_commas_quotes_and_lines(tmp_path):
    text = 'a,b\n1,"x, ""y"""\n2,"u\nv"\n'
    source = read_csv(tmp_path / "a.csv", text)
    assert source.columns[1] == Column("b", ("u\nv", 'x, "y"'))


def test_parquet_types(tmp_path):
    day = datetime.date(1970, 1, 3)
    noon = datetime.datetime(1970, 1, 2, 12)
    table = pa.table(
        {
            "integer": pa.array([1, None, 3, 4], pa.int64()),
            "float": pa.array([0.5, float("nan"), None, 2]),
            "half": pa.array(np.float16([0.5, np.nan, 1, 2])),
            "price": pa.array([1, None, 2, 3], pa.decimal128(9, 2)),
            "yes": [True, False, None, True],
            "day": [day, day, None, day],
            "time": pa.array([noon, None, noon, noon], pa.timestamp("ns")),
            "zoned": pa.array([noon, None, noon, noon], pa.timestamp("s", "UTC")),
            "text": ["b", "a", None, "b"],
            "packed": pa.array(["b", "a", "?", "b"]).dictionary_encode(),
            "digits": pa.array(["1", " 2", "NA", "4"], pa.large_string()),
            "tags": [[1], [2], [3], [4]],
        }
    )
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(table, path, row_group_size=3)
    name = f"parquet:{path}"
    source = load_table(DataOptions(dataset=name, drop_columns=("tags",)))
    assert [column.name for column in source.columns] == table.column_names[:-1]
    assert [column.categories for column in source.columns[8:]] == [
        ("a", "b"),
        ("a", "b"),
        None,
    ]
    nan = np.nan
    expected = [
        [1, 0.5, 0.5, 1, 1, 2, 1.5, 1.5, 1, 1, 1],
        [nan, nan, nan, nan, 0, 2, nan, nan, 0, 0, 2],
        [3, nan, 1, 2, nan, nan, 1.5, 1.5, nan, nan, nan],
        [4, 2, 2, 3, 1, 2, 1.5, 1.5, 1, 1, 4],
    ]
    np.testing.assert_array_equal(source.train.read(), np.float32(expected))
    with pytest.raises(ValueError, match=r"'tags' of list.*drop_columns=tags"):
        load_table(DataOptions(dataset=name))


# Labels.


@pytest.mark.parametrize(
    ("cells", "class_names", "labels"),
    [
        (["dog", "cat", " dog"], ("cat", "dog"), [1, 0, 1]),
        (["10", "9", "-1"], ("-1", "9", "10"), [2, 1, 0]),
        (["1.0", "0"], ("0", "1"), [1, 0]),
        (["1", "a"], ("1", "a"), [0, 1]),
        (["true", "false"], ("false", "true"), [1, 0]),
    ],
    ids=str,
)
def test_labels(tmp_path, cells, class_names, labels):
    text = csv_of(a=range(NUM_ROWS), y=cells)
    options = {"label_column": "y", "numeric_columns": ("a",)}
    source = read_csv(tmp_path / "a.csv", text, **options)
    assert source.columns == (Column("a"),)
    assert source.class_names == class_names
    assert source.train.labels.dtype == np.int64
    assert source.train.labels[: len(labels)].tolist() == labels


def test_parquet_labels(tmp_path):
    path = tmp_path / "a.parquet"
    table = {
        "a": np.arange(20.0) / 2,
        "flag": [False, True] * 10,
        "kind": pa.array(["y", "x"] * 10).dictionary_encode(),
    }
    pa.parquet.write_table(pa.table(table), path, row_group_size=7)
    loaded = load_dataset(f"parquet:{path}", label_column="flag")
    assert loaded.class_names == ("false", "true")
    assert loaded.columns[1] == Column("kind", ("x", "y"))
    numbers = [int(name.removeprefix("row/")) for name in loaded.train.names]
    assert loaded.train.labels.tolist() == [number % 2 for number in numbers]
    loaded = load_dataset(f"parquet:{path}", label_column="kind", drop_columns=["flag"])
    assert loaded.class_names == ("x", "y") and loaded.example_shape == (1,)


# Whole datasets.


def test_dataset_of_a_csv_file(tmp_path):
    text = csv_of(a=NUMBERS, b=["x", "y", ""], key=LETTERS, y=["no", "yes"])
    (tmp_path / "a.csv").write_text(text)
    loaded = load_dataset(
        f"csv:{tmp_path}/a.csv",
        label_column="y",
        drop_columns=["key"],
        numeric_columns=("a",),
    )
    assert loaded.columns == (Column("a"), Column("b", ("x", "y")))
    assert loaded.example_shape == (2,) and loaded.class_names == ("no", "yes")
    splits = (loaded.train, loaded.validation, loaded.test)
    assert [len(split) for split in splits] == [29, 3, 8]
    for split in splits:
        numbers = np.array([int(name.removeprefix("row/")) for name in split.names])
        np.testing.assert_array_equal(split.read(np.arange(len(split)))[:, 0], numbers)
        np.testing.assert_array_equal(split.labels, numbers % 2)
    assert np.bincount(loaded.test.labels).tolist() == [4, 4]
    batch = next(iter(loaded.train.training_batches(8, seed=0)))
    assert batch.shape == (8, 2) and batch.dtype.name == "float32"
    unlabeled = load_dataset(
        f"csv:{tmp_path}/a.csv", drop_columns=["key", "y"], numeric_columns=("a",)
    )
    assert unlabeled.test is None and unlabeled.num_classes is None
