"""Tests of user-provided tables: parsed as the training data, or refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.tables import load_table, load_user_table
from vicreg_keras.settings import DataOptions

COLUMNS = (
    Column("size"),
    Column("color", ("blue", "red")),
    Column("bought", format="times"),
)
TRAINING = """bought,color,size,animal
2024-02-29,red,1.5,cat
,blue,,dog
1970-01-02,,-2e1,cat
"""


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "data", "parquet"])
def test_cells_are_read_as_those_of_training(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix.replace('parquet', 'csv')}", TRAINING)
    if suffix == "parquet":
        table = pa.csv.read_csv(path)
        path = str(tmp_path / "a.parquet")
        pa.parquet.write_table(table, path)
    split = load_user_table(path, columns=COLUMNS).train
    expected = [[1.5, 1, 19782], [np.nan, 0, np.nan], [-20, np.nan, 1]]
    assert split.names == ("row/0", "row/1", "row/2") and split.labels is None
    np.testing.assert_array_equal(split.read(), np.float32(expected))


def test_the_training_file_itself_gives_the_training_examples(tmp_path):
    text = TRAINING + "1970-01-01,red,3,cat\n2000-01-01,blue,4,dog\n" * 9
    path = write(tmp_path / "a.csv", text)
    source = load_table(DataOptions(dataset=f"csv:{path}", label_column="animal"))
    split = load_user_table(path, columns=source.columns).train
    np.testing.assert_array_equal(split.read(), source.train.read())


def test_a_category_that_training_did_not_have_is_missing(tmp_path):
    path = write(tmp_path / "a.csv", "size,color,bought\n1,green,\n2, blue ,\n")
    examples = load_user_table(path, columns=COLUMNS).train.read()
    np.testing.assert_array_equal(examples[:, 1], np.float32([np.nan, 0]))


def test_numbers_of_another_kind_still_count_as_categories(tmp_path):
    path = str(tmp_path / "a.parquet")
    pa.parquet.write_table(pa.table({"color": [2, 1, 7]}), path)
    examples = load_user_table(path, columns=[Column("color", ("1", "2"))])
    examples = examples.train.read()
    np.testing.assert_array_equal(examples[:, 0], np.float32([1, 0, np.nan]))


def test_a_matrix(tmp_path):
    examples = np.float32([[1, 2, 3], [4, np.nan, 6]])
    np.savez(tmp_path / "a.npz", examples=examples, column_names=["a", "b", "c"])
    split = load_user_table(
        str(tmp_path / "a.npz"), columns=[Column("c"), Column("b")]
    ).train
    np.testing.assert_array_equal(split.read(), examples[:, [2, 1]])


def test_more_examples_than_are_read_at_once(tmp_path):
    numbers = np.arange(70_000) % 997
    path = str(tmp_path / "a.parquet")
    pa.parquet.write_table(pa.table({"x": numbers.astype(str)}), path)
    split = load_user_table(path, columns=[Column("x")]).train
    assert split.names[-1] == "row/69999"
    np.testing.assert_array_equal(split.read()[:, 0], numbers)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "size,colors,bought\n1,red,\n", "without 'color'; near.*'colors'"),
        ("a.csv", "x,y\n1,2\n", "without 'size', 'color', 'bought'; others"),
        ("a.csv", "size,color,bought\n1,red,\nbig,red,\n", "'big' in row/1"),
        ("a.csv", "size,color,bought\n1e39,red,\n", "finite in float32"),
        ("a.csv", "size,color,bought\n", "at least one row"),
        ("a.csv", "size,color,bought\n1,red\n", "Expected 3 columns, got 2"),
        ("a.txt", "size,color,bought\n1,x\n", "comma-separated text.*a.txt"),
        ("a.parquet", "PAR1", "a readable parquet file"),
        ("a.npz", "PK", "an npz file of plain arrays"),
        (None, "", "a file.*nothing.csv, which is none"),
    ],
)
def test_what_is_refused(tmp_path, name, text, expected):
    path = str(tmp_path / "nothing.csv")
    if name is not None:
        path = write(tmp_path / name, text)
    with pytest.raises(ValueError, match=f"(?s)Expected.*{expected}"):
        load_user_table(path, columns=COLUMNS)


def test_an_empty_file_and_images_are_refused(tmp_path):
    path = str(tmp_path / "a.parquet")
    pa.parquet.write_table(pa.table({"x": pa.array([], pa.float32())}), path)
    with pytest.raises(ValueError, match="at least one row"):
        load_user_table(path, columns=[Column("x")])
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="Expected a table of 1 columns.*images"):
        load_user_table(str(tmp_path / "a.npz"), columns=[Column("x")])
