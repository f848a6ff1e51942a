"""Columns whose cells could be taken for something else, and what is said of them."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.data.sources.conftest import csv_of, read_csv
from tests.data.sources.conftest import read_cells as read
from vicreg_keras.data.sources.table_columns import infer_column, read_known_column
from vicreg_keras.errors import InputError
from vicreg_keras.export.table_cells import decode_cells, encode_cells


@pytest.mark.parametrize(
    ("cells", "others"),
    [
        (["1.5", "2"], ["2020-01-05", "true", "6:00"]),
        (["5 kg", "7 kg"], ["2020-01-05", "true", "6:00"]),
        (["True", "False"], ["7", "0.5", "2020-01-05", "yes"]),
        (["6:00", "18:00"], ["2020-01-05", "0.25", "true"]),
        (["31.01.2020"], ["6:00", "5", "true"]),
    ],
)
def test_no_kind_is_taken_for_another(cells, others):
    column = read(cells).column
    for text in others:
        with pytest.raises(InputError, match="in column 'x', as in the training data"):
            read_known_column(column, pa.chunked_array([[text]]), "b.csv")
        with pytest.raises(tf.errors.InvalidArgumentError, match="column x"):
            decode_cells(tf.constant([[text]]), [column])


TYPED = {
    "numbers": pa.array([1.5, 2]),
    "truth": pa.array([True, False]),
    "dates": pa.array([1, 2], pa.date32()),
    "times of day": pa.array([1, 2], pa.time32("s")),
    "durations": pa.array([1, 2], pa.duration("s")),
}


@pytest.mark.parametrize("trained", TYPED)
@pytest.mark.parametrize("later", TYPED)
def test_no_type_is_taken_for_another(trained, later):
    one = infer_column("x", pa.chunked_array([TYPED[trained]]), "a.parquet")
    cells = pa.chunked_array([TYPED[later]])
    if later == trained or (trained, later) == ("durations", "numbers"):
        known = read_known_column(one.column, cells, "b.parquet")
        assert later != trained or (known.values == one.values).all()
        again = encode_cells(one.values[:, np.newaxis], [one.column])
        decoded = decode_cells(tf.constant(again), [one.column])[:, 0]
        np.testing.assert_allclose(decoded, one.values, rtol=1e-6)
    else:
        with pytest.raises(InputError, match="in column 'x'.*training data.*b.parq"):
            read_known_column(one.column, cells, "b.parquet")


POINTS = ["1.000", "2.037", "950"]


def semicolons(**columns):
    text = csv_of(
        **{name: [c.replace(",", "_") for c in columns[name]] for name in columns}
    )
    return text.replace(",", ";").replace("_", ",")


def test_points_are_of_thousands_beside_decimal_commas(tmp_path):
    source = read_csv(tmp_path / "a.csv", semicolons(p=["0,5", "1,5"], u=POINTS))
    assert source.train.read()[:3, 1].tolist() == [1000, 2037, 950]
    assert any("'u': numbers with thousands points" in note for note in source.notes)
    quoted = csv_of(p=['"0,5"', '"1,5"'], u=["1.000 kg", "2.037 kg"])
    source = read_csv(tmp_path / "b.csv", quoted)
    assert source.train.read()[:2, 1].tolist() == [1000, 2037]


def test_points_that_may_be_of_thousands(tmp_path):
    path = tmp_path / "a.csv"
    text = semicolons(p=["a", "b"], u=POINTS)
    with pytest.raises(InputError, match="'1.000' .*'u', whose points may separate"):
        read_csv(path, text)
    source = read_csv(path, text, numeric_columns=("u",))
    assert source.train.read()[2, 1] == 950
    source = read_csv(path, semicolons(p=["0.5", "2"], u=POINTS))
    assert source.train.read()[1, 1] == np.float32(2.037)
    assert read(POINTS).note == (
        "points are of decimals, not of thousands",
        "'1.000' is 1",
    )
    assert not read(["1.000", "2.037"]).note[0]
