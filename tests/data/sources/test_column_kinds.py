"""Columns whose cells could be taken for something else, and what is said of them."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

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
