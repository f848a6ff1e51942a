"""Text tables: aligned, and percents as they are printed everywhere."""

from vicreg_keras.figures.text_table import format_table, percent


def test_columns_are_aligned():
    rows = [("", "top-1", "chosen"), ("raw pixels", "9.50", "C 1"), ("a", "-", "")]
    assert format_table(rows).splitlines() == [
        "            top-1  chosen",
        "raw pixels   9.50  C 1",
        "a               -",
    ]


def test_two_columns_of_names():
    rows = [("a", "b", "1", "x"), ("aa", "bb", "22", "")]
    assert format_table(rows, num_left=2).splitlines() == [
        "a   b    1  x",
        "aa  bb  22",
    ]


def test_percent():
    assert percent(None) == "-"
    assert percent(0.98765) == "98.77"
    assert percent(0.5, 0.0123) == "50.00 ± 1.23"
