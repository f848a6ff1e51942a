"""Columns whose cells could be taken for something else, and what is said of them."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.data.sources.conftest import csv_of, read_csv
from tests.data.sources.conftest import read_cells as read
from vicreg_keras.data.cells import strip_text
from vicreg_keras.data.sources.known_columns import read_known_column
from vicreg_keras.data.sources.table_columns import infer_column
from vicreg_keras.data.sources.tables import load_user_table
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


WHOLE = [str(i % 7) for i in range(60)]


@pytest.mark.parametrize("odd", ["Total", "Source: Eurostat", "in kg", "n = 60"])
def test_a_few_texts_among_numbers_are_mistakes(odd):
    problem = read([*WHOLE, odd], rows=61).problem
    assert f"{odd!r} in row/60 of column 'x', beside numbers in 98.4 %" in problem
    assert not read([*("1234" * 4), odd], rows=17).problem


@pytest.mark.parametrize(
    "cells",
    [
        ["True", "False", "1", "0", "yes", "no"],
        ["0 days 00:05:00", "0 days 00:06:00"],
        ["PT1H30M", "PT2H"],
        ["Fri Jan 31 10:00:00 2020"],
        ["31 janvier 2020", "1 mars 2020"],
        ["2020-W05", "2020-W06"],
        ["48.85, 2.35", "1.5, 2.5"],
        ["[0.1 0.2]"],
        ["0x1F", "0x20"],
        ["½", "¼"],
        ["5", "x"],
    ],
)
def test_categories_that_hold_digits_are_said(cells):
    one = read(cells)
    assert one.column.categories and one.note[0].startswith("categories, ")


def test_plain_words_are_categories_without_a_word():
    assert not read(["v1", "grade 2", "type_3"]).note[0]


def test_true_and_false_may_be_written_as_digits_as_well():
    one = read(["True", "0", "false", "1"])
    assert one.values[:4].tolist() == [1, 0, 0, 1] and "1 and 0" in one.note[0]


@pytest.mark.parametrize(
    "cells", [["31JAN2020:12:00:00"], ["31/Jan/2020:12:00:00 +0000"]]
)
def test_times_behind_a_colon(cells):
    one = read(cells)
    assert one.values[0] == 18292.5
    assert decode_cells(tf.constant([cells]), [one.column]) == 18292.5


def test_rows_without_a_value_are_counted(tmp_path):
    source = read_csv(tmp_path / "a.csv", csv_of(a=[1, 2], b=["x", "y"]) + ",\n" * 3)
    (note,) = source.notes
    assert note.startswith("3 of 43 rows have no value in any column, the first is row")
    user = load_user_table(str(tmp_path / "a.csv"), columns=source.columns)
    assert user.notes == source.notes


@pytest.mark.parametrize(
    ("cells", "later", "said"),
    [
        (["5 %", "7%"], ["0.07", "8 %"], "numbers without '%'"),
        (["5 kg", "7 kg"], ["5"], "numbers without 'kg'"),
        (["$5", "7"], ["5", "6"], "numbers without '$'"),
        (["$5", "7"], ["$5", "6"], ""),
        (["5 %", "7%"], ["8 %", None], ""),
    ],
)
def test_later_numbers_without_the_unit_of_training_are_said(cells, later, said):
    later = pa.chunked_array([pa.array(later, pa.string())])
    known = read_known_column(read(cells).column, later, "b.csv")
    assert known.note[0].startswith(said) and bool(known.note[0]) == bool(said)


@pytest.mark.parametrize(
    "cells",
    [
        [f"2020-01-31T10:00:{i:02}" for i in range(60)],
        [str(1580464800 + i) for i in range(60)],
        [f"48.8566{i:03}" for i in range(60)],
    ],
)
def test_values_that_float32_does_not_tell_apart_are_said(cells):
    assert "of 60 values apart" in read(cells).note[0]


def test_dates_may_name_columns(tmp_path):
    text = csv_of(**{"station": ["a", "b"], "2020-01-01": [1, 2], "2020-01-02": [3]})
    source = read_csv(tmp_path / "a.csv", text)
    assert source.columns[1].name == "2020-01-01"
    with pytest.raises(InputError, match="first line looks like data"):
        read_csv(tmp_path / "a.csv", csv_of(**{"2020-01-01": ["2020-01-02"], "a": [1]}))


def test_micro_may_be_a_sign_or_a_letter():
    one = read(["5 \u00b5g", "7 \u03bcg"])
    assert one.values[:2].tolist() == [5, 7]
    cells = tf.constant([["6 \u00b5g"], ["8 \u03bcg"]])
    assert decode_cells(cells, [one.column])[:, 0].numpy().tolist() == [6, 8]


def test_letters_and_their_accents_are_read_as_one(tmp_path):
    one, two = "\u00e9t\u00e9", "e\u0301te\u0301"
    column = read([one, two, "ete"]).column
    assert column.categories == ("ete", one)
    later = strip_text(pa.chunked_array([[two, one]]))
    assert read_known_column(column, later, "b.csv").values.tolist() == [1, 1]
    decoded = decode_cells(tf.constant([[two], [one], ["ete"]]), [column])
    assert decoded[:, 0].numpy().tolist() == [1, 1, 0]
    source = read_csv(tmp_path / "a.csv", csv_of(**{two: [1, 2], "y": [one, two, "b"]}))
    assert [column.name for column in source.columns] == [one, "y"]
    again = read_csv(
        tmp_path / "a.csv", csv_of(a=[1, 2], y=[one, two, "b"]), label_column="y"
    )
    assert again.class_names == ("b", one)


def test_an_accountants_dash_is_zero():
    one = read(["$1,200.50", " $ -   ", "$7"])
    assert one.values[:3].tolist() == [1200.5, 0, 7]
    cells = tf.constant([[" $ -   "], ["$3"]])
    assert decode_cells(cells, [one.column])[:, 0].numpy().tolist() == [0, 3]


@pytest.mark.parametrize("text", ["[NULL]", "..", "k.A."])
def test_what_else_is_missing(text):
    one = read(["1.5", text])
    assert one.values[0] == 1.5 and np.isnan(one.values[1])


@pytest.mark.parametrize(
    "cells",
    [
        [f"{i} mars 2020" for i in range(1, 32)],
        [f"{i} de marzo de 2020" for i in range(1, 32)],
        ["512", "712B", "4.0K", "1.2M"],
        ["12", "12B", "14T"],
        [f"192.168.100.{i}" for i in range(101, 120)],
        ["3x5", "4x5"],
        ["48° 30' N", "47° 30' N"],
        ["14h30", "15h30"],
    ],
)
def test_what_stands_behind_a_number_may_be_no_unit(cells):
    one = read(cells)
    assert one.problem or one.omitted or one.column.categories and one.note[0]


@pytest.mark.parametrize("unit", ["m2", "s-1", "l/100km", "m3/h", "W/m2K", "out of 5"])
def test_units_may_hold_digits(unit):
    assert read([f"5 {unit}", f"7.5 {unit}"]).values[:2].tolist() == [5, 7.5]


def test_each_magnitude_is_shown():
    said = "'950' is 950, '4.5k' is 4500, '1.25M' is 1250000"
    assert read(["1.25M", "4.5k", "950"]).note[1] == said
    assert read(["$2B", "$30M"]).values[:2].tolist() == [2e9, 3e7]


def test_compact_times():
    cells = [f"202001{day:02}T060000Z" for day in range(1, 29)]
    assert read(cells).values[0] == 18262.25
