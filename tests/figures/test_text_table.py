"""Text tables: aligned, and percents as they are printed everywhere."""

from vicreg_keras.figures.text_table import Table, format_table, percent


def test_columns_are_aligned():
    rows = [("", "top-1", "chosen"), ("raw pixels", "9.50", "C 1"), ("a", "-", "")]
    assert format_table(rows).splitlines() == [
        "            top-1  chosen",
        "raw pixels   9.50  C 1",
        "a               -",
    ]


def test_columns_of_numbers_are_flush_right():
    rows = [("a", "b", "c"), ("aa", "9 of 10", "50.0 ± 1.2"), ("b", "10", "-")]
    assert format_table(rows).splitlines() == [
        "a   b                 c",
        "aa  9 of 10  50.0 ± 1.2",
        "b   10                -",
    ]


def test_table_is_displayed_below_its_caption():
    table = Table("What it is.", [("", "n"), ("a", "12")])
    assert str(table) == "What it is.\n    n\na  12"


def test_percent():
    assert percent(None) == "-"
    assert percent(0.98765) == "98.77"
    assert percent(0.5, 0.0123) == "50.00 ± 1.23"
