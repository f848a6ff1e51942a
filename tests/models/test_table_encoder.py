"""Encoders of rows: raw rows in, scaled inside."""

import keras
import numpy as np
import pytest

from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.export.tflite import VARIANTS, TFLiteEncoder, convert
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.models.table_encoder import TableInputs, make_table_encoder

NAN = np.nan
COLUMNS = (
    Column("height"),
    Column("color", ("blue", "green", "red")),
    Column("constant"),
    Column("gaps"),
)
ROWS = np.array(
    [[1, 0, 5, 3], [2, 2, 5, NAN], [3, NAN, 5, 5], [NAN, 1, 6, 4]], np.float32
)
STATISTICS = table_statistics(ROWS[:3], COLUMNS)


def test_scaled_rows_by_hand():
    root = 1.5**0.5
    expected = [
        # height, constant, gaps; is gaps missing; blue, green, red
        [-root, 0, -1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 0, 1],
        [root, 0, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 1, 0],  # The training rows had every height.
    ]
    layer = TableInputs.of(COLUMNS, STATISTICS)
    np.testing.assert_allclose(layer(ROWS), expected, rtol=1e-6)
    assert layer(keras.Input((4,))).shape == (None, 7)
    again = TableInputs.from_config(layer.get_config())
    np.testing.assert_array_equal(again(ROWS), layer(ROWS))


@pytest.mark.parametrize("widths", [(6,), (8, 6)])
def test_an_encoder_takes_raw_rows(widths, tmp_path):
    encoder = make_table_encoder(COLUMNS, STATISTICS, widths)
    rows = encoder(ROWS).numpy()
    assert rows.shape == (4, 6) and np.isfinite(rows).all() and (rows >= 0).all()
    scaled = TableInputs.of(COLUMNS, STATISTICS)(ROWS).numpy()
    for i in range(len(widths)):
        kernel, bias = encoder.get_layer(f"dense_{i + 1}").get_weights()
        scaled = np.maximum(scaled @ kernel + bias, 0)
    np.testing.assert_allclose(rows, scaled, rtol=1e-5, atol=1e-6)
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(again(ROWS), rows)
    saved = load_encoder(export_savedmodel(encoder, tmp_path / "run", (4,)))
    np.testing.assert_allclose(saved(ROWS), rows, rtol=1e-5, atol=1e-6)
    file = TFLiteEncoder(convert(encoder, (4,), VARIANTS["float32"]))
    np.testing.assert_allclose(file(ROWS), rows, rtol=1e-5, atol=1e-6)


def test_one_kind_of_column_is_enough():
    numbers = make_table_encoder(
        COLUMNS[:1], table_statistics(ROWS[:3, :1], COLUMNS[:1]), (3,)
    )
    assert numbers(ROWS[:, :1]).shape == (4, 3)
    colors = COLUMNS[1:2]
    color = make_table_encoder(colors, table_statistics(ROWS[:3, 1:2], colors), (3,))
    assert color(ROWS[:, 1:2]).shape == (4, 3)
