"""Tests of tables in npz files: columns by name, and what is refused."""

import re

import numpy as np
import pytest

from vicreg_keras.data.columns import Column
from vicreg_keras.data.sources.base import Known
from vicreg_keras.errors import InputError

N = 40
RANDOM = np.random.default_rng(0)
CODES = np.arange(N) % 4
TABLE = RANDOM.normal(size=(N, 3)).astype(np.float32)


def said(source):
    return " | ".join([*source.notes, *source.left_out])


def test_a_table_is_read_by_name(load):
    names = np.array(["age", "height", "weight"])
    source = load(X=TABLE, y=CODES, feature_names=names)
    assert source.columns == tuple(map(Column, names.tolist()))
    known = Known(columns=source.columns)
    order = [2, 0, 1]
    again = load(examples=TABLE[:, order], column_names=names[order], known=known)
    np.testing.assert_array_equal(again.train.read(), source.train.read())
    wider = np.concatenate([TABLE, TABLE[:, :1]], axis=1)
    more = load(x=wider, column_names=np.array([*names, "new"]), known=known)
    np.testing.assert_array_equal(more.train.read(), TABLE)
    assert "column 'new'" in said(more)
    with pytest.raises(InputError, match=r"no 'age', 'height', 'weight'.*column_0"):
        load(x=TABLE, known=known)
    with pytest.raises(InputError, match="no 'color'"):
        load(x=TABLE, known=Known(columns=(Column("color", ("red", "blue")),)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": TABLE.astype(str)}, "use a CSV or Parquet file"),
        ({"x": TABLE, "column_names": np.array(["a", "a", "b"])}, "no two alike"),
        ({"x": TABLE, "column_names": np.array(["a", "", "b"])}, "none empty"),
        ({"x_train": TABLE, "x_test": TABLE[:, 1:]}, "3 columns of training"),
        ({"x": TABLE, "y": CODES[1:]}, "with y of 39"),
    ],
)
def test_bad_tables(load, arrays, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load(**arrays)


def test_a_table_that_may_be_images_or_has_an_index_is_said(load):
    assert "(N, 28, 28)" in said(
        load(data=RANDOM.integers(0, 256, (N, 784), dtype=np.uint8), target=CODES)
    )
    source = load(X=np.c_[RANDOM.permutation(N) + 5, TABLE])
    assert source.train.example_shape == (3,) and "'column_0' is not read" in said(
        source
    )


def test_columns_without_a_value_are_left_out(load):
    table = np.insert(TABLE, [1, 3], np.nan, axis=1)
    source = load(X=table, column_names=np.array(list("abcde")))
    assert [column.name for column in source.columns] == ["a", "c", "d"]
    np.testing.assert_array_equal(source.train.read(), TABLE)
    assert source.left_out[0] == "2 columns 'b', 'e' (nothing)"
    with pytest.raises(InputError, match="nothing in 'column_0'"):
        load(X=table[:, [1, 4]])
