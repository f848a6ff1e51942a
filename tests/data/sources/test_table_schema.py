"""Columns by name, and what is left out of a table."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.sources.conftest import (
    LETTERS,
    NUM_ROWS,
    NUMBERS,
    csv_of,
    names_of,
    read_csv,
)
from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import Known
from vicreg_keras.data.sources.bundled import load_bundled_table
from vicreg_keras.data.sources.npz import load_npz
from vicreg_keras.data.sources.tables import load_table
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

PRICES = ['"$1,200.50"', "$5", "-", "$7"]


@pytest.fixture
def trained(tmp_path):
    """A table, and how it was read."""
    text = csv_of(price=PRICES, color=["red", "blue"], day=["31/01/2020", "2/1/2020"])
    return read_csv(tmp_path / "a.csv", text)


def read_known(path, text, columns, **options):
    path.write_text(text)
    options = DataOptions(dataset=f"csv:{path}", **options)
    return load_table(options, Known(columns))


def test_columns_are_known_by_name_and_categories_by_value(tmp_path, trained):
    text = csv_of(
        more=["x", "y"],
        day=["31/01/2020", "02/01/2020"],
        color=["red", "blue"],
        y=["b", "a"],
        price=["1200.5", "$5.00", "none", "$7"],
    )
    text += "x,1/1/2020,amber,a,9\n"
    source = read_known(tmp_path / "b.csv", text, trained.columns, label_column="y")
    assert source.columns == trained.columns
    examples = source.train.read()
    np.testing.assert_array_equal(examples[:-1], trained.train.read())
    assert np.isnan(examples[-1, 1]) and examples[-1, 0] == 9
    assert source.left_out == ("column 'more' (not a column of the encoder)",)
    (note,) = source.notes
    assert note == (
        "column 'color': categories that training did not have count as missing, "
        "'amber' in 1 cell"
    )
    assert source.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("price,color\n1,red\n", {}, "columns of the training data.*without 'day'"),
        (
            "price,color,day\n1,red,2020\n",
            {},
            "dates, day first in column 'day'.*'2020' in row/0",
        ),
        (
            "price,color,day\n1,red,1/1/2020\n",
            {"label_column": "outcome"},
            "label_column names.*without 'outcome'",
        ),
        (
            "price,color,day\n1,red,1/1/2020\n",
            {"label_column": "color"},
            "label_column that the encoder was not trained on",
        ),
    ],
)
def test_what_is_not_of_the_training_data_is_refused(
    tmp_path, trained, text, options, message
):
    with pytest.raises(InputError, match=message):
        read_known(tmp_path / "b.csv", text, trained.columns, **options)


@pytest.mark.parametrize("y", [None, "", "a"])
def test_labels_may_lack_where_none_are_needed(tmp_path, trained, y):
    path, columns = tmp_path / "b.csv", {"price": ["$1"], "color": ["red"]}
    columns |= {"day": ["1/1/2020"]} | ({} if y is None else {"y": [y]})
    path.write_text(csv_of(**columns))
    options = DataOptions(dataset=f"csv:{path}", label_column="y")
    source = load_table(options, Known(trained.columns, needs_labels=False))
    assert source.class_names is None and len(source.train) == NUM_ROWS
    assert source.notes[-1] == "no labels in column 'y', so read without them"
    with pytest.raises(InputError, match="label_column names|labels of two classes"):
        load_table(options, Known(trained.columns))
    assert DataOptions(label_column="").label_column is None


def test_a_column_that_was_dropped_may_be_missing_later(tmp_path, trained):
    text = csv_of(price=PRICES, color=["red", "blue"], day=["31/01/2020", "2/1/2020"])
    options = {"drop_columns": ("id",), "numeric_columns": ("n",)}
    source = read_known(tmp_path / "b.csv", text, trained.columns, **options)
    np.testing.assert_array_equal(source.train.read(), trained.train.read())


def test_columns_keep_all_through_json(trained):
    import dataclasses
    import json

    for column in trained.columns:
        config = json.loads(json.dumps(dataclasses.asdict(column)))
        assert Column.from_config(config) == column


# What is left out, and said.


def test_row_numbers_identifiers_and_empty_columns_are_left_out(tmp_path):
    columns = {
        "": NUMBERS,
        "Unnamed: 0.1": NUMBERS,
        "id": [n + 1000 for n in NUMBERS],
        "key": LETTERS,
        "nothing": ["NA"],
        "x": [n / 7 for n in NUMBERS],
        "y": ["u", "v"],
    }
    source = read_csv(tmp_path / "a.csv", csv_of(**columns), label_column="y")
    assert names_of(source) == ["x"]
    assert source.left_out == (
        "2 columns 'Unnamed: 0', 'Unnamed: 0.1' (row numbers, as pandas writes them)",
        "column 'key' (text that never repeats; categorical_columns=key keeps it)",
        "column 'nothing' (nothing)",
        "column 'id' (whole numbers that never repeat; numeric_columns=id keeps it)",
    )
    kept = {"numeric_columns": ("id", "Unnamed: 0"), "categorical_columns": ("key",)}
    source = read_csv(tmp_path / "a.csv", csv_of(**columns), label_column="y", **kept)
    assert names_of(source) == ["Unnamed: 0", "id", "key", "x"]
    path = tmp_path / "a.parquet"
    table = {"x": np.arange(40) / 7, "__index_level_0__": np.arange(40)}
    pa.parquet.write_table(pa.table(table), path)
    source = load_table(DataOptions(dataset=f"parquet:{path}"))
    assert names_of(source) == ["x"] and "__index_level_0__" in source.left_out[0]


@pytest.mark.parametrize("more", [["Unnamed: 0"], ["Unnamed: 0.1", "Unnamed: 0"]])
def test_a_table_that_pandas_saved_again_has_several_row_numbers(tmp_path, more):
    columns = {name: NUMBERS for name in ["", *more]}
    text = csv_of(**columns, x=[n / 7 for n in NUMBERS])
    source = read_csv(tmp_path / "a.csv", text)
    assert names_of(source) == ["x"] and "row numbers" in source.left_out[0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["male", "female"], "read"),
        ([n / 7 for n in NUMBERS], "read"),
        ([n % 20 for n in NUMBERS], "read"),
        ([f"2020-01-{1 + n % 28:02}" for n in NUMBERS], "read"),
        (LETTERS, "text that never repeats"),
        ([3 * n for n in reversed(NUMBERS)], "row numbers"),
    ],
    ids=str,
)
def test_a_first_column_without_a_name_may_be_data(tmp_path, cells, expected):
    text = csv_of(**{"": cells, "x": [n / 7 for n in NUMBERS]})
    source = read_csv(tmp_path / "a.csv", text)
    assert names_of(source) == ["Unnamed: 0"] * (expected == "read") + ["x"]
    assert expected in f"{source.left_out or 'read'}"
    assert bool(source.notes) == (expected == "read")


def test_a_column_of_nan_alone_is_left_out(tmp_path):
    table = {"x": np.arange(40) / 7, "nothing": np.full(40, np.nan)}
    pa.parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    source = load_table(DataOptions(dataset=f"parquet:{tmp_path / 'a.parquet'}"))
    assert source.left_out == ("column 'nothing' (nothing)",)


def test_many_columns_of_distinct_whole_numbers_are_measurements(tmp_path):
    random = np.random.default_rng(0)
    counts = {f"gene {i}": random.permutation(1000)[:NUM_ROWS] for i in range(8)}
    source = read_csv(tmp_path / "a.csv", csv_of(row=NUMBERS, **counts))
    assert names_of(source) == list(counts)
    (note,) = source.notes
    assert note.startswith("8 columns 'gene 0'") and "never repeat, kept" in note
    assert source.left_out[0].startswith("column 'row'")


def test_columns_that_are_written_alike_share_a_note(tmp_path):
    columns = {f"p{i}": ["$5", '"$1,000"'] for i in range(9)}
    source = read_csv(tmp_path / "a.csv", csv_of(**columns))
    (note,) = source.notes
    assert note.startswith("9 columns 'p0', 'p1', 'p2', 'p3', 'p4', ...: numbers with")


def test_all_problems_of_a_table_are_in_one_line(tmp_path):
    text = csv_of(
        a=["1", "x"], b=["01/02/2020", "2/3/2020"], **{'"c, d"': ["5/6/2020"]}
    )
    with pytest.raises(InputError) as error:
        read_csv(tmp_path / "a.csv", text, numeric_columns=("a",))
    for part in (
        "'x' in row/1 of column 'a'; ",
        "such as '01/02/2020', in column 'b'; ",
        "in column 'c, d'. Correct or empty such cells",
        "categorical_columns='a,b,\"c, d\"'",
        "drop_columns='a,b,\"c, d\"'",
    ):
        assert part in str(error.value)


# Matrices of numbers.


def test_matrices_are_matched_by_name_and_by_value(tmp_path):
    columns = (Column("b"), Column("a", ("1", "2")), Column("c"))
    values = np.array([[1, 0.5, 7], [2, np.nan, 8], [3, 1.5, 9], [np.nan, 2, 1]])
    path = tmp_path / "a.npz"
    np.savez(path, examples=values, column_names=["a", "b", "c"])
    source = load_npz(DataOptions(dataset=f"npz:{path}"), Known(columns))
    expected = [[0.5, 0, 7], [np.nan, 1, 8], [1.5, np.nan, 9], [2, np.nan, 1]]
    np.testing.assert_array_equal(source.train.read(), np.float32(expected))
    assert "categories that training did not have" in source.notes[-1]
    times = (Column("a", format="times"),)
    with pytest.raises(InputError, match="times in column 'a'.*'1' in row/0"):
        load_npz(DataOptions(dataset=f"npz:{path}"), Known(times))


def test_bundled_tables_are_matched_by_name():
    iris = load_bundled_table(DataOptions(dataset="iris"))
    some = Known(tuple(reversed(iris.columns[1:])))
    again = load_bundled_table(DataOptions(dataset="iris"), some)
    expected = iris.train.read()[:, :0:-1]
    np.testing.assert_array_equal(again.train.read(), expected)
    with pytest.raises(InputError, match="columns of the encoder's.*iris with no 'x'"):
        load_bundled_table(DataOptions(dataset="iris"), Known((Column("x"),)))
