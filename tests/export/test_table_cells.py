"""Cells of a table: text in, the rows of the dataset out."""

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.cells import MISSING
from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.export.table_cells import decode_cells, encode_cells
from vicreg_keras.models.table_encoder import TableInputs

NAN = np.nan
COLUMNS = (Column("height"), Column("color", ("blue", "green", "rot è")))
TIMES = (Column("day", format="times"), Column("old", format="true or false"))


@tf.function(input_signature=[tf.TensorSpec((None, 2), tf.string)])
def decode(cells):
    return decode_cells(cells, COLUMNS)


def heights(*texts):
    return decode(tf.constant([[text, ""] for text in texts])).numpy()[:, 0].tolist()


def times(*texts):
    cells = tf.constant([[text, ""] for text in texts])
    return decode_cells(cells, TIMES).numpy()[:, 0].tolist()


def test_numbers_and_categories():
    cells = [["1.5", "green"], [" -2e3 ", " rot è"], ["7", "purple"], ["+.5", "blue"]]
    expected = [[1.5, 1], [-2000, 2], [7, NAN], [0.5, 0]]
    np.testing.assert_array_equal(decode(tf.constant(cells)), expected)


def test_what_is_missing_is_nan():
    received = decode(tf.constant([[text, text] for text in MISSING]))
    assert np.isnan(received).all() and received.shape == (len(MISSING), 2)


def test_truth_and_times_are_numbers():
    texts = ["true", "False", "TRUE", "0", "1"]
    truth = decode_cells(tf.constant([["", text] for text in texts]), TIMES)
    assert truth.numpy()[:, 1].tolist() == [1, 0, 1, 0, 1]
    days = ("1970-01-02", "1969-12-31", "2000-03-01", "2024-02-29 12:00", "1600-01-01")
    assert times(*days) == [1, -1, 11017, 19782.5, -135140]
    zoned = ("1970-01-02T06:00:00Z", "1970-01-02T06:00:00+06:00", "1970-01-02 00:00-12")
    assert times(*zoned) == [1.25, 1, 1.5]
    assert times("1970-01-01T00:00:43.2") == [np.float32(0.0005)]


@pytest.mark.parametrize("year", [1900, 1999, 2000, 2023, 2024, 2100])
def test_every_day_follows_the_one_before(year):
    first = np.datetime64(f"{year}-01-01")
    days = first + np.arange(366)
    expected = days.astype("datetime64[D]").astype(int).tolist()
    assert times(*days.astype(str)) == expected


@pytest.mark.parametrize(
    "text", ["tall", "1.2.3", "1,5", "--1", "2024-1-1", "0x10", "true", "2024-01-01"]
)
def test_other_text_among_numbers_is_an_error(text):
    with pytest.raises(tf.errors.InvalidArgumentError, match="in the column height"):
        heights("1", text)


def test_cells_of_rows_give_the_rows():
    random = np.random.default_rng(0)
    rows = np.stack([random.normal(size=50), random.integers(0, 3, 50)], 1)
    rows = np.where(random.random(rows.shape) < 0.2, NAN, rows).astype(np.float32)
    cells = tf.constant(encode_cells(rows, COLUMNS))
    np.testing.assert_array_equal(decode(cells), rows)


@pytest.mark.parametrize("layer", [False, True])
def test_the_graph_is_as_large_for_many_columns(layer):
    def num_operations(times):
        priced = Column("price", None, "numbers with '$'", ((r"^\$", ""),))
        columns = times * (*COLUMNS, priced, Column("day", format="times"))
        statistics = table_statistics(np.zeros((2, len(columns))), columns)

        @tf.function(input_signature=[tf.TensorSpec((None, len(columns)), tf.string)])
        def call(cells):
            if layer:
                zeros = tf.zeros(tf.shape(cells))
                return TableInputs.of(columns, statistics)(zeros)
            return decode_cells(cells, columns)

        return len(call.get_concrete_function().graph.get_operations())

    assert num_operations(1) == num_operations(100)
