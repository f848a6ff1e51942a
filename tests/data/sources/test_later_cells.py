"""Cells of a later file, which may be written otherwise than those of training."""

import csv
import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf

from tests.data.sources.conftest import NUM_ROWS, read_csv
from vicreg_keras.data.sources.base import Known
from vicreg_keras.data.sources.tables import load_table, load_user_table
from vicreg_keras.errors import InputError
from vicreg_keras.export.table_cells import decode_cells
from vicreg_keras.settings import DataOptions


def table(delimiter=",", **columns):
    """Csv text of columns whose cells go round."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(columns)
    for row in range(NUM_ROWS):
        writer.writerow([cells[row % len(cells)] for cells in columns.values()])
    return file.getvalue()


def later(tmp_path, trained, text):
    """The values of a later file's first rows, its notes, or the error."""
    path = tmp_path / "later.csv"
    path.write_text(text)
    try:
        source = load_user_table(str(path), columns=trained.columns)
    except InputError as error:
        return None, (str(error),)
    return source.train.read(), source.notes


# Each with the numbers that it is of; each tells by itself how it is written.
WRITINGS = {
    "plain": (["825.106", "12.5", "7"], [825.106, 12.5, 7]),
    "whole": (["825106", "12", "7"], [825106, 12, 7]),
    "decimal commas": (["825,10", "12,5", "7"], [825.1, 12.5, 7]),
    "three decimals": (["825,106", "12,5", "0,125"], [825.106, 12.5, 0.125]),
    "thousands points": (["1.825.106", "1.505", "7"], [1825106, 1505, 7]),
    "German": (["825.106", "1.234,5", "7,25"], [825106, 1234.5, 7.25]),
    "thousands commas": (["1,825,106", "1,505", "7"], [1825106, 1505, 7]),
    "English": (["825,106", "1,234.5", "7.25"], [825106, 1234.5, 7.25]),
    "French": (["825 106", "1 234,5", "7,25"], [825106, 1234.5, 7.25]),
    "thousands spaces": (["825 106", "1 234", "7"], [825106, 1234, 7]),
    "Swiss": (["825'106.5", "1'234", "7.25"], [825106.5, 1234, 7.25]),
    "lakhs": (["8,25,106", "12,34,567", "7"], [825106, 1234567, 7]),
    "exponents": (["8.25e5", "1e3", "7"], [825000, 1000, 7]),
    "euros": (["1.505 €", "12,50 €", "7 €"], [1505, 12.5, 7]),
    "whole euros": (["505 €", "12 €", "7 €"], [505, 12, 7]),
    "magnitudes": (["1.505k", "12.5M", "7"], [1505, 12_500_000, 7]),
}


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("writing", WRITINGS)
def test_numbers_are_what_they_are_or_refused(tmp_path, writing, delimiter):
    trained = read_csv(tmp_path / "a.csv", table(x=WRITINGS[writing][0]))
    for name, (cells, values) in WRITINGS.items():
        text = table(delimiter, x=cells, other=["a", "b", "c"])
        read, said = later(tmp_path, trained, text)
        graph = decode_cells
        texts = tf.constant([[cell] for cell in cells])
        if read is None:
            assert name != writing, said
            with pytest.raises(tf.errors.InvalidArgumentError):
                graph(texts, trained.columns)
            continue
        np.testing.assert_array_equal(read[:3, 0], np.float32(values), name)
        np.testing.assert_array_equal(graph(texts, trained.columns), read[:3])


@pytest.mark.parametrize(
    ("trained", "delimiter", "cells", "values"),
    [
        # What is of thousands or of decimals is as training shows, or refused.
        (["1,5", "2,25"], ",", ["1.234"], None),
        (["1,5", "2,25"], ",", ["1.234,5"], [1234.5]),
        (["1,5", "2,25"], ",", ["1,234"], [1.234]),
        (["1,5", "2,25"], ",", ["1,234", "950"], None),
        (["1,5", "2,25"], ";", ["1,234", "950"], [1.234, 950]),
        (["1,5", "2,25"], ",", ["€ 1.505"], None),
        (["1,5 €", "2,25 €"], ",", ["1.505 €"], None),
        (["5 €", "7 €"], ",", ["1.505 €"], None),
        (["1.011.000", "900"], ",", ["1,011"], None),
        (["1.011.000", "900"], ",", ["1.011"], [1011]),
        (["1,011", "900"], ",", ["1.011"], None),
        (["1,011", "900"], ",", ["1,505"], [1505]),
        (["1,011", "900"], ";", ["1,505"], None),
        (["1,234.5", "900"], ",", ["1.011"], [1.011]),
        (["1.5", "900"], ";", ["1.011", "937"], None),
        (["1.5", "900"], ";", ["1.011", "0.5"], [1.011, 0.5]),
        (["1.5", "900"], ",", ["1.011", "937"], [1.011, 937]),
        (["1 234,5", "7"], ",", ["1.011"], None),
    ],
)
def test_numbers_of_which_nothing_tells(tmp_path, trained, delimiter, cells, values):
    trained = read_csv(tmp_path / "a.csv", table(x=trained))
    read, said = later(tmp_path, trained, table(delimiter, x=cells, other=["a"]))
    if values is None:
        assert read is None and "in column 'x', as in the training data" in said[0]
    else:
        assert read[: len(cells), 0].tolist() == np.float32(values).tolist()


# None of them holds a number that tells what points are of.
UNITS = [
    "{} kg",
    "{}%",
    "${}",
    "{} €",
    "{} °C",
    "{}k",
    "USD {}",
    "−{}",
    "{} points",
    "({})",
]


@pytest.mark.parametrize("unit", UNITS)
def test_points_beside_units_are_of_decimals_and_said(tmp_path, unit):
    units = [unit.format(number) for number in ("70.25", "812.5", "3.1")]
    trained = read_csv(tmp_path / "a.csv", table(x=units))
    cells = [unit.format(number) for number in ("62.125", "70")]
    read, said = later(tmp_path, trained, table(x=cells))
    assert read is not None, said
    first, second = np.abs(read[:2, 0])
    assert abs(first / second - 62.125 / 70) < 1e-6
    points = "points are of decimals, not of thousands, "
    value = f"{read[0, 0]:g}"
    assert said == (f"column 'x': {points}{cells[0]!r} is {value}",)


@pytest.mark.parametrize(
    ("trained", "delimiter", "cells", "said"),
    [
        ("825,10", ",", ["12.5"], "'12.5' in row/0, .*, whose point is of decimals"),
        ("825,10", ",", ["1.505"], "'1.505' .* point may be of thousands or of dec"),
        ("8 825,1", ",", ["1.825.106"], "'1.825.106' .* point is of thousands"),
        ("5 €", ",", ["1,505 €"], "'1,505 €' .* comma may be of thousands or of dec"),
        ("52.52", ";", ["52.520", "1"], "whose points are rather of thousands"),
        ("1,011", ";", ["1,505"], "whose commas are rather of decimals"),
    ],
)
def test_what_points_and_commas_are_of(tmp_path, trained, delimiter, cells, said):
    trained = read_csv(tmp_path / "a.csv", table(x=[trained, "7"]))
    _, (received,) = later(tmp_path, trained, table(delimiter, x=cells, other=["a"]))
    assert re.search(said, received)


def test_points_of_a_file_with_semicolons_are_of_decimals_later_too(tmp_path):
    trained = read_csv(
        tmp_path / "a.csv", table(";", a=["1.011", "2.5"], b=["1.234", "950"])
    )
    read, _ = later(tmp_path, trained, table(";", a=["1.011"], b=["1.234", "950"]))
    np.testing.assert_array_equal(read[0], np.float32([1.011, 1.234]))
    path = tmp_path / "b.csv"
    text = table(";", u=["1.000", "2.037", "950"], s=["a", "b"])
    trained = read_csv(path, text, numeric_columns=("u",))
    read, _ = later(tmp_path, trained, text)
    assert read[2, 0] == 950 and read[0, 0] == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_other_columns_tell_what_commas_and_dates_are(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    text = table(delimiter, a=["3,3", "4,25"], b=["1,444", "937"])
    source = read_csv(path, text)
    assert source.train.read()[0].tolist() == np.float32([3.3, 1.444]).tolist()
    text = table(delimiter, a=["3.3", "4.25"], b=["1,444", "937"])
    assert read_csv(path, text).train.read()[0, 1] == 1444
    text = table(delimiter, a=["3.3", "2.5"], b=["1,444", "937"], c=["1,5", "2,5"])
    with pytest.raises(InputError, match="'1,444'.*'b', whose commas may separate"):
        read_csv(path, text)
    text = table(delimiter, a=["1.234 €", "950 €"], b=["0.5", "2.25"])
    assert read_csv(path, text).train.read()[0, 0] == 1234
    text = table(delimiter, a=["31/01/2020", "1/2/2020"], b=["01/02/2020", "2/1/2020"])
    source = read_csv(path, text)
    assert source.train.read()[0].tolist() == [18292, 18293]
    said = "'b': dates, day first, as other columns show, '01/02/2020' is 2020-02-01"
    assert said in source.notes[-1]


TRAINED = {
    "whole": ["1.0", "2.0", ""],
    "integers": ["1", "2", "3"],
    "truth": ["True", "False"],
    "days": ["2020-01-31", "2020-02-01"],
    "times": ["2020-01-31T10:00:00", "2020-02-01 00:00"],
}
LATER = {
    "whole": [["1", "2", ""], pa.array([1, 2, None]), pa.array([1.0, 2.0, None])],
    "integers": [["1.0", "2.00", "3"], pa.array([1.0, 2.0, 3.0])],
    "truth": [["TRUE", "false"], pa.array([True, False])],
    "days": [
        ["2020-01-31 00:00:00", "2020-02-01T00:00Z"],
        pa.array(["2020-01-31", "2020-02-01"]).cast(pa.date32()),
        pa.array(["2020-01-31", "2020-02-01"]).cast(pa.timestamp("ns")),
    ],
    "times": [
        ["2020-01-31 10:00", "2020-02-01"],
        pa.array(["2020-01-31T10:00", "2020-02-01"]).cast(pa.timestamp("us")),
    ],
}


@pytest.mark.parametrize("kind", TRAINED)
def test_categories_are_the_same_in_other_writings(tmp_path, kind):
    text = table(x=TRAINED[kind], y=["a", "b", "c"])
    trained = read_csv(tmp_path / "a.csv", text, categorical_columns=("x",))
    expected = trained.train.read()[: len(TRAINED[kind]), 0]
    assert not np.isnan(expected[:2]).any()
    for cells in LATER[kind]:
        path = tmp_path / "later.parquet"
        texts = cells if isinstance(cells, list) else cells.cast(pa.string())
        y = pa.array(["a"] * len(cells))
        pa.parquet.write_table(pa.table({"x": cells, "y": y}), path)
        for known in (
            load_user_table(str(path), columns=trained.columns),
            load_table(DataOptions(dataset=f"parquet:{path}"), Known(trained.columns)),
        ):
            np.testing.assert_array_equal(known.train.read()[:, 0], expected)
            assert not known.notes
        texts = [["" if text is None else str(text), "a"] for text in texts]
        received = decode_cells(tf.constant(texts), trained.columns)[:, 0]
        np.testing.assert_array_equal(received, expected)


def test_unknown_categories_are_counted_by_column(tmp_path):
    text = table(color=["red", "blue"], ward=["north", "south"], y=["1", "2", "3"])
    trained = read_csv(tmp_path / "a.csv", text)
    text = table(color=["red", "pink"], ward=["1", "2"], y=["1"])
    _, notes = later(tmp_path, trained, text)
    assert notes == (
        "column 'color': categories that training did not have count as missing, "
        "'pink' in 20 cells",
        "column 'ward': all values count as missing, training had none of these "
        "categories, '1' and others in 40 cells",
    )
    text = table(color=["red", "pink"], ward=["north", "east", "1", "x"], y=["1"])
    _, notes = later(tmp_path, trained, text)
    assert notes[0].endswith(
        "'color': 'pink' in 20 cells, 'ward': 'east' and others in 30 cells"
    )


@pytest.mark.parametrize(
    ("cells", "values", "said"),
    [
        (["15%", "7%"], [0.15, 0.07], "numbers without '%' are taken as if"),
        (["$5", "$7"], [5, 7], "numbers without '$'"),
        (["5 kg", "7 kg"], [5, 7], "numbers without 'kg'"),
        (["5M", "7M"], [5, 7], "numbers without 'M'"),
        (["07/31/2020", "08/01/2020"], ["2020-07-08"], ""),
        (["5", "7"], [5.0], ""),
    ],
)
def test_numbers_without_their_unit_are_said(tmp_path, cells, values, said):
    trained = read_csv(tmp_path / "a.csv", table(x=cells, y=["a", "b"]))
    path = tmp_path / "later.parquet"
    y = pa.array(["a"] * len(values))
    pa.parquet.write_table(pa.table({"x": values, "y": y}), path)
    notes = load_user_table(str(path), columns=trained.columns).notes
    assert said in " ".join(notes) and bool(notes) == bool(said)


def test_whole_numbers_that_are_dates(tmp_path):
    for name, cells in (
        ("ints", pa.array([20200131, 20200201] * 20)),
        ("floats", pa.array([20200131.0, None] * 20)),
    ):
        path = tmp_path / f"{name}.parquet"
        pa.parquet.write_table(pa.table({"x": cells, "y": ["a", "b"] * 20}), path)
        source = load_table(DataOptions(dataset=f"parquet:{path}"))
        assert source.train.read()[0, 0] == 18292
        assert source.notes == ("column 'x': dates, '20200131' is 2020-01-31",)
        numeric = DataOptions(dataset=f"parquet:{path}", numeric_columns=("x",))
        assert load_table(numeric).train.read()[0, 0] == 20200131


def test_dates_of_another_order_are_refused(tmp_path):
    trained = read_csv(tmp_path / "a.csv", table(x=["31/01/2020", "2/1/2020"]))
    monthly = ["01/01/2019", "02/01/2019", "03/01/2020"]
    read, said = later(tmp_path, trained, table(x=monthly, y=["a"]))
    assert read is None and "'x', as in the training data" in said[0]
    assert "rather dates, month first" in said[0]
    for same in (["01/01/2019", "02/02/2020"], ["05/06/2020"], ["01/02/2020", ""]):
        read, _ = later(tmp_path, trained, table(x=same, y=["a"]))
        assert read is not None
