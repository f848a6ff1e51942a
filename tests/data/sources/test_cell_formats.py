"""Cells as people write them: read as what they are, equally in files and graphs."""

import re

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.data.sources.conftest import read_cells as read
from vicreg_keras.data.cells import strip_text
from vicreg_keras.data.sources.known_columns import read_known_column
from vicreg_keras.data.sources.table_columns import infer_column
from vicreg_keras.errors import InputError
from vicreg_keras.export.table_cells import decode_cells, encode_cells

NAN = np.nan
DAY = {
    text: np.datetime64(text).astype("datetime64[D]").astype(int)
    for text in ("2020-01-31", "2020-02-01", "1999-12-01", "2020-01-01", "2021-02-01")
}
JAN, FEB, OLD, NEW, NEXT = map(float, DAY.values())


NUMBERS = [
    (["1", "-2.5", "+3e2", ".5", "5."], [1, -2.5, 300, 0.5, 5]),
    ([" 5 ", "\u00a07", "8\u202f", "\ufeff9"], [5, 7, 8, 9]),
    (["true", "False", "TRUE"], [1, 0, 1]),
    # Signs and currencies.
    (["−5", "–3", "7", "+2"], [-5, -3, 7, 2]),
    (["$1,200.50", "-$5", "$-6", "$ 7", "($1,000)"], [1200.5, -5, -6, 7, -1000]),
    (["5 €", "1.200,50 €", "-7 €"], [5, 1200.5, -7]),
    (["1.234 €", "950 €"], [1234, 950]),
    (["EUR 5", "EUR 6.50"], [5, 6.5]),
    (["5 CHF", "1'200.50 CHF", "2’000 CHF"], [5, 1200.5, 2000]),
    (["Fr. 5.-", "Fr. 1'200.50"], [5, 1200.5]),
    (["£1m", "£2m"], [1, 2]),
    (["US$5", "US$1,000"], [5, 1000]),
    (["₹1,23,456.78", "₹50", "₹12,34,56,789"], [123456.78, 50, 123456789]),
    (["(1,200)", "5", "(3)"], [-1200, 5, -3]),
    (["(1994)", "(1972)", "(5)"], [1994, 1972, 5]),
    (["($1,994)", "($5)"], [-1994, -5]),
    (["(5) %", "3 %", "(2%)"], [-5, 3, -2]),
    (["5-", "3"], [-5, 3]),
    (["- 5", "3"], [-5, 3]),
    # Units.
    (["45 %", "3.5%", "-1%"], [45, 3.5, -1]),
    (["5 kg", "7.5kg", "-1 kg"], [5, 7.5, -1]),
    (["80 m2", "1,200 m2"], [80, 1200]),
    (["5°C", "-3 °C"], [5, -3]),
    (["1 year", "3 years"], [1, 3]),
    (["4 out of 5", "3 out of 5"], [4, 3]),
    (["3.5M", "200k", "950", "1.2K"], [3.5e6, 2e5, 950, 1200]),
    # Thousands and decimals.
    (["1,200", "3,500,000", "950"], [1200, 3.5e6, 950]),
    (["1,5", "2,25", "3"], [1.5, 2.25, 3]),
    (["0,125", "1,200"], [0.125, 1.2]),
    (["1.234.567,89", "5,1", "1.000"], [1234567.89, 5.1, 1000]),
    (["1 234,5", "12", "1\u00a0000"], [1234.5, 12, 1000]),
    (["1 234 567.5", "3"], [1234567.5, 3]),
    (["1.234.567", "1.234"], [1234567, 1234]),
    (["1.234", "5.678"], [1.234, 5.678]),
    (["1,43E-01", "2,5e3"], [0.143, 2500]),
    (["1,235e+06", "2,500E-03"], [1_235_000, 0.0025]),
    (["0,000", "12,000"], [0, 12000]),
    (["١٢", "٣٫٥"], [12, 3.5]),
    # Missing.
    (["1", "-", "—", ".", "none", "N/A", "#DIV/0!"], [1, *[NAN] * 6]),
    (["$5", "", "n.a.", "NaT", "\\N", "(null)", "MISSING"], [5, *[NAN] * 6]),
]
TIMES = [
    (["2020-01-31", "2020-02-01T06:00:00Z"], [JAN, FEB + 0.25]),
    (["01/31/2020", "2/1/2020"], [JAN, FEB]),
    (["31/01/2020", "01/02/2020"], [JAN, FEB]),
    (["31.01.2020", "1.2.2020"], [JAN, FEB]),
    (["01.02.2020", "01.02.2021"], [FEB, NEXT]),
    (["31-01-20", "01-12-99"], [JAN, OLD]),
    (["01/01/2020", "02/01/2021"], [NEW, NEXT]),
    (["01/01/2020", "01/02/2021"], [NEW, NEXT]),
    (["2020/01/31", "2020/2/1"], [JAN, FEB]),
    (["2020-1-31 6:00", "2020-02-01 18:00"], [JAN + 0.25, FEB + 0.75]),
    (["1/31/20 6:00 PM", "12/1/99 12:00 AM"], [JAN + 0.75, OLD]),
    (["31 Jan 2020", "1 February 2020"], [JAN, FEB]),
    (["Jan 31, 2020", "Feb 1, 2020"], [JAN, FEB]),
    (["31-Jan-20", "01-DEC-99"], [JAN, OLD]),
    (["31JAN2020", "01FEB2020"], [JAN, FEB]),
    (
        ["Fri, 31 Jan 2020 12:00:00 GMT", "Wed, 01 Dec 1999 00:00:00 GMT"],
        [JAN + 0.5, OLD],
    ),
    (["31. Januar 2020", "1. Dez. 1999"], [JAN, OLD]),
    (["2020-01", "2021-02"], [NEW, NEXT]),
    (["Jan 2020", "Feb 2021"], [NEW, NEXT]),
    (["Jan-20", "Feb-21"], [NEW, NEXT]),
    (["20200131", "20200201"], [JAN, FEB]),
    (["99-12-01", "20-01-31"], [OLD, JAN]),
    (["2020-01-31 12:00:00 UTC", "2020-02-01 12:00:00 +0600"], [JAN + 0.5, FEB + 0.25]),
    (["6:00", "18:00:00"], [0.25, 0.75]),
    (["6 AM", "6 PM"], [0.25, 0.75]),
    (["12:00 a.m.", "12:00 p.m."], [0, 0.5]),
]
CATEGORIES = [
    (["red", "Blue ", "red", "NA"], ("Blue", "red")),
    (["yes", "No", "Y"], ("No", "Y", "yes")),
    (["01234", "10115", "00501"], ("00501", "01234", "10115")),
    (["5 kg", "500 g", "1 kg"], ("1 kg", "5 kg", "500 g")),
    (["5-10", "10-20", "20+"], ("10-20", "20+", "5-10")),
    (["10+ years", "< 1 year", "3 years"], ("10+ years", "3 years", "< 1 year")),
    (["1", "2", "many"], ("1", "2", "many")),
    (["0x1F", "0x20"], ("0x1F", "0x20")),
    (["10.0.0.1", "10.0.0.2"], ("10.0.0.1", "10.0.0.2")),
    (["2020-W05", "2020-W06"], ("2020-W05", "2020-W06")),
    (["Q1 2020", "Q2 2020"], ("Q1 2020", "Q2 2020")),
    (["1st", "2nd", "3rd"], ("1st", "2nd", "3rd")),
    (["S", "M", "L"], ("L", "M", "S")),
    (["+49 170 1234567", "+49 171 12"], ("+49 170 1234567", "+49 171 12")),
]


def check_graph(one, cells, expected):
    """The SavedModel's graph, and another file, give the same."""
    column = one.column

    def decode(texts):
        return decode_cells(texts, [column])

    texts = tf.constant([[text] for text in cells])
    np.testing.assert_array_equal(decode(texts)[:, 0], expected)
    again = encode_cells(expected[:, np.newaxis], [column])
    np.testing.assert_array_equal(decode(tf.constant(again))[:, 0], expected)
    known = read_known_column(column, strip_text(pa.chunked_array([cells])), "b.csv")
    np.testing.assert_array_equal(known.values, expected)
    assert not known.note[0]


@pytest.mark.parametrize(("cells", "values"), [*NUMBERS, *TIMES], ids=str)
def test_numbers_and_times(cells, values):
    one = read(cells)
    assert not one.problem and not one.omitted and one.column.categories is None
    np.testing.assert_array_equal(one.values[: len(cells)], np.float32(values))
    check_graph(one, cells, np.float32(values))
    # What is not plain is said.
    assert bool(one.note[0]) == bool(one.column.rewrites)


@pytest.mark.parametrize(("cells", "categories"), CATEGORIES, ids=str)
def test_categories(cells, categories):
    one = read(cells)
    assert not one.problem and not one.omitted
    assert one.column.categories == categories
    check_graph(one, cells, one.values[: len(cells)])


@pytest.mark.parametrize(
    ("note", "example", "cells"),
    [
        (
            "numbers with '$' and thousands commas",
            "'$1,200.50' is 1200.5",
            ["$1,200.50", "$5"],
        ),
        ("numbers with thousands commas", "'1,200' is 1200", ["1,200", "3"]),
        (
            "dates, month first",
            "'01/31/2020' is 2020-01-31",
            ["01/31/2020", "1/1/2020"],
        ),
        ("dates", "'20200131' is 2020-01-31", ["20200131"]),
        ("times of day", "'10:30' is 10:30", ["10:30", "9:00"]),
        ("categories, since not all cells are numbers", "'5+'", ["1", "2", "5+"]),
        (
            "categories, since not all cells are numbers",
            "'500 g'",
            ["5 kg", "1 kg", "500 g"],
        ),
        ("whole numbers with leading zeros are categories", "'01'", ["01", "12"]),
        ("categories that differ in capitals alone", "'Red' and 'red'", ["red", "Red"]),
    ],
    ids=str,
)
def test_what_is_said(note, example, cells):
    one = read(cells)
    assert one.note[0].startswith(note) and one.note[1] == example


MANY = [f"{number / 7:.3f}" for number in range(59)]


@pytest.mark.parametrize(
    ("problem", "cells"),
    [
        ("'<LOD' in row/59 of column 'x', beside numbers in 98.3 %", [*MANY, "<LOD"]),
        ("'12 kg' in row/59 .*beside numbers in", [*MANY, "12 kg"]),
        ("'1,5' in row/59 .*beside numbers in", [*MANY, "1,5"]),
        (
            "'7 g' in row/59 .*numbers of another kind",
            [*(f"{i} kg" for i in MANY), "7 g"],
        ),
        ("'<0' and the like in column 'x'", [f"<{i}" for i in range(60)]),
        ("'0x1' and the like", [f"{i}x{i + 1}" for i in range(60)]),
        ("'€7' in row/59", [*(f"${i}" for i in MANY), "€7"]),
        (
            "'31/12/2020' in row/59|some with the day first",
            [*(f"12/{i % 28 + 1}/20{i:02}" for i in range(59)), "31/12/2020"],
        ),
        (
            "day and month can't be told apart, such as '01/02/2020'",
            ["01/02/2020", "03/04/2020"],
        ),
        ("day and month can't be told apart", ["05/01/2020", "05/02/2020"]),
        (
            "'2021-02-29' in row/1 of column 'x', which does not",
            ["2020-02-29", "2021-02-29"],
        ),
        ("day and year can't be told apart", ["20-01-31", "20-01-30"]),
        (
            "dates, day first, of which '30/02/2020' is none, in column 'x'",
            [f"{i % 28 + 1}/02/20{i:02}" for i in range(59)] + ["30/02/2020"],
        ),
        ("55 different texts, such as 'key_0'", [f"key_{i % 55}" for i in range(60)]),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_can_be_read_in_no_way_or_in_two(problem, cells):
    one = read(cells)
    assert re.search(problem, one.problem)


def test_what_is_left_out():
    assert read([f"name {i}x" for i in range(60)]).omitted == "text that never repeats"
    assert read([""]).omitted == "nothing"
    identifiers = [str(i * 7 + 100_000_000) for i in range(60)]
    assert read(identifiers).is_identifier
    assert not read(identifiers, kind="numbers").is_identifier
    assert not read(identifiers[:19], rows=19).is_identifier
    assert not read([f"${one}" for one in identifiers]).is_identifier
    assert not read([f"-{one}" for one in identifiers]).is_identifier
    assert not read(identifiers[:59]).is_identifier
    # Numbers with a mistake are not text that never repeats.
    assert not read([*(str(i / 7) for i in range(59)), "x"]).omitted


def test_what_the_user_says_of_a_column_counts():
    assert read(["1", "2", "9"], kind="categories").column.categories == ("1", "2", "9")
    assert read(["01", "02"], kind="numbers").values[:2].tolist() == [1, 2]
    assert read(["20200131"], kind="numbers").values[0] == 20200131
    many = [f"key_{i}" for i in range(60)]
    assert len(read(many, kind="categories").column.categories) == 60
    assert "'x' in row/1" in read(["1", "x"], kind="numbers").problem
    # A file with semicolons has decimal commas, where nothing else tells.
    assert read(["1,200"], decimal=",").values[0] == np.float32(1.2)


@pytest.mark.parametrize("text", ["31/12/2020", "5 kg", "x", "1e99", "€5"])
def test_cells_of_another_kind_are_refused_later(text):
    column = read(["$5", "$6,000.50"]).column
    with pytest.raises(InputError, match="column 'x'"):
        cells = strip_text(pa.chunked_array([["$5", text]]))
        read_known_column(column, cells, "b.csv")
    with pytest.raises(tf.errors.InvalidArgumentError, match="column x"):
        decode_cells(tf.constant([["$5"], [text]]), [column])


@pytest.mark.parametrize("text", ["2020", "true", "43861.5", "2020/02/30", "Feb"])
def test_no_number_is_a_time(text):
    for cells in (["2020-01-31"], ["2020/01/31"]):
        column = read(cells).column
        with pytest.raises(InputError, match="in column 'x'.*training data"):
            read_known_column(column, pa.chunked_array([[text]]), "b.csv")
        with pytest.raises(tf.errors.InvalidArgumentError, match="column x"):
            decode_cells(tf.constant([[text]]), [column])


def test_types_of_parquet():
    minute = np.array([0, 90], "timedelta64[m]")
    for cells, values in (
        (pa.array(minute.astype("timedelta64[s]")), [0, 1 / 16]),
        (pa.array([0, 6 * 3600], pa.time32("s")), [0, 0.25]),
        (pa.array([1, 2]).dictionary_encode(), [1, 2]),
    ):
        column = strip_text(pa.chunked_array([cells]))
        one = infer_column("x", column, "a.parquet")
        np.testing.assert_array_equal(one.values, np.float32(values))
    with pytest.raises(InputError, match="'x' of list.*or use drop_columns=x"):
        infer_column("x", pa.chunked_array([[[1], [2]]]), "a.parquet")
    codes = pa.chunked_array([[1.0, 2.0, float("nan")]])
    one = infer_column("x", codes, "a.parquet", kind="categories")
    assert one.column.categories == ("1", "2")
    # An integer is read as the text that it is in a CSV file.
    dates = read(["20200131", "20200201"]).column
    known = read_known_column(dates, pa.chunked_array([[20200131]]), "a.parquet")
    assert known.values[0] == JAN


def test_numbers_of_a_parquet_file_are_taken_as_they_are():
    column = read(["1.234,5", "2,5"]).column  # 7.625 would be 7625 as text.
    known = read_known_column(column, pa.chunked_array([[-7.625]]), "a.parquet")
    assert known.values.tolist() == [-7.625]
