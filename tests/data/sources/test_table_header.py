"""Headers, delimiters and encodings of a table's file."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.sources.conftest import NUMBERS, csv_of, names_of, read_csv
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.errors import InputError

IRIS = "5.1,3.5,1.4,0.2,Iris-setosa\n4.9,3.0,1.4,0.2,Iris-setosa\n6,2,4,1,Iris-x\n"


@pytest.mark.parametrize(
    "text",
    [
        IRIS,
        "5,red\n6,blue\n",
        "148,50\n85,31\n",
        "male,22\nfemale,38\nmale,26\n",
        "red,2020-01-31\nblue,2020-02-01\n",
        "cat,small\ncat,large\ndog,small\n",
        "07/19/2010,$4217.50\n08/01/2011,$12.00\n",
        "-5%;7%\n12%;-3%\n",
        "10:30,15:45\n9:15,16:00\n",
        "?,red,12kg\n3,blue,7kg\n",
        "<5,x\n<7,y\n",
        "3,2;1,5\n2,5;0,5\n",
        "50,67,76,83,91,98,104,111\n48,65,75,82,90,96,105,110\n",
        "1950,1961,1987\n1949,1968,1990\n",
        "Fiat,2004\nFord,2013\nFiat,1999\n",
        "A7,B12\nA12,B3\n",
        "0,1\n1,0\n0,0\n",
        "0,1,?\n1,0,3\n0,0,?\n",
        "0,1,2,low\n1,0,2,high\n1,1,1,low\n",
        "1,2,3\n1,3,2\n3,1,2\n2,1,3\n",
        "1,2,3\n1,2,4\n1,2,5\n2,3,4\n",
        "1,2,3\n2,3,0\n3,1,3\n4,2,3\n5,2,0\n6,1,1\n",
        "".join(f"{i % 2},{i + 1}\n" for i in range(9)),
        "2,1,0,x\n1,0,2,x\n0,1,1,y\n",
    ],
)
def test_a_first_line_of_data_is_refused_or_read_without_header(tmp_path, text):
    with pytest.raises(
        InputError, match="like data|each column once|repeats it"
    ) as error:
        read_csv(tmp_path / "a.csv", text * 9)
    assert "header=none" in str(error.value)
    source = read_csv(tmp_path / "a.csv", text * 9, header="none")
    assert len(source.train) == 9 * len(text.splitlines())
    assert names_of(source)[0] == "column_0"


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1", "2"],
        ["label", *map(str, range(64))],
        ["country", "1990", "1995", "2000"],
        ["y", *(f"{400 + i / 2}" for i in range(20))],
        ["name", "2020"],
        ["", "0"],
        ["city", "2020-01-01", "2020-02-01", "2020-03-01"],
        ["country", "1990", "1995", "2004"],
        ["x", "25%", "50%", "24h", "1st", "1007_s_at", "x1"],
        [*(f"{99 + i * i / 5:g}" for i in range(9))],
    ],
    ids=str,
)
def test_names_may_be_numbers_in_order(tmp_path, names):
    cells = [[n / 7 + i for n in NUMBERS] for i in range(len(names))]
    source = read_csv(
        tmp_path / "a.csv", csv_of(**dict(zip(names, cells, strict=True)))
    )
    assert names_of(source) == [name or "Unnamed: 0" for name in names]


@pytest.mark.parametrize(
    ("header", "num_values", "other"),
    [
        ("0,1,2,3,4,target", 10, ["a", "b"]),
        (",0,1,2,3,4", 10, range(400)),
        (",0,1", 2, range(400)),
        ("0,1,2,y", 3, [0, 1, 2]),
        ("0,1,y", 2, [0, 1]),
        ("0,1,y", 2, ["a", "b"]),
        ("0,1,2", 2, None),
        ("1,2,3,4,5,6", 5, None),
        ("subject,1,2,3,4,5,6,7,8", 9, [f"s{i % 90:02}" for i in range(400)]),
        (",".join(map(str, range(100))), 256, None),
        (",".join(map(str, [*range(3, 40), *range(42, 60)])), 9, None),
        ("region,2020,2019,2018", 400, ["n", "s"]),
    ],
)
def test_pandas_names_may_stand_above_the_same_whole_numbers(
    tmp_path, header, num_values, other
):
    names = header.split(",")
    rng = np.random.default_rng(0)
    columns = [
        rng.integers(num_values, size=400) if name.isdigit() else np.resize(other, 400)
        for name in names
    ]
    lines = [header, *(",".join(map(str, row)) for row in zip(*columns, strict=True))]
    source = read_csv(tmp_path / "a.csv", "\n".join(lines))
    assert names_of(source) == [name for name in names if name]


def test_without_a_header_columns_are_numbered(tmp_path):
    options = {"header": "none", "label_column": "column_4"}
    source = read_csv(tmp_path / "iris.data", IRIS * 9, **options)
    assert names_of(source) == [f"column_{i}" for i in range(4)]
    assert source.class_names == ("Iris-setosa", "Iris-x")
    dataset = load_dataset(f"csv:{tmp_path}/iris.data", **options)
    lines = "".join(line.rsplit(",", 1)[0] + "\n" for line in IRIS.splitlines())
    (tmp_path / "more.csv").write_text(lines)
    more = dataset.load_user_examples(str(tmp_path / "more.csv"))
    np.testing.assert_array_equal(more.read(), source.train.read([0, 1, 2]))
    for wrong in (f"1,{IRIS}", lines.replace("5.1,", "", 1)):
        (tmp_path / "more.data").write_text(wrong.replace("\n", "\n1,")[:-2])
        with pytest.raises(InputError, match="Expected 4 or 5 columns|as many cells"):
            dataset.load_user_examples(str(tmp_path / "more.data"))
    pa.parquet.write_table(pa.table({"a": [1.5, 2.5]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no header for dataset=parquet"):
        load_dataset(f"parquet:{tmp_path}/a.parquet", header="none")


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_delimiters(tmp_path, delimiter):
    cells = ['"a"', '"b; c, d"', "e f", "1", "x", "2.5", "2", '"y;|,"', "3.5"]
    lines = [delimiter.join(cells[i : i + 3]) for i in (0, 3, 6)]
    source = read_csv(tmp_path / "a.csv", "\ufeff" + "\r\n".join(lines))
    assert names_of(source) == ["a", "b; c, d", "e f"]
    assert source.columns[1].categories == ("x", "y;|,")
    assert (delimiter == ",") == (not source.notes)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Size, cm;class\n" + "1,5;3\n2,5;4\n" * 9, ["Size, cm", "class"]),
        ("Size, cm;Mass, kg\n" + "1,5;2,5\n2,5;9,25\n" * 9, ["Size, cm", "Mass, kg"]),
        ("a\tb\n" + "1,5\t2,5\n2,5\t1,75\n" * 9, ["a", "b"]),
        ("a,b\n" + "1,x;y\n2,u;v\n" * 9, ["a", "b"]),
        ("a;b\n" + "1;2,5\n2;3\n" * 9, ["a", "b"]),
    ],
)
def test_commas_in_cells_are_no_delimiters(tmp_path, text, names):
    source = read_csv(tmp_path / "a.csv", text)
    assert names_of(source) == names and len(source.train) == 18
    lines = text.split("\n", 1)[1]
    source = read_csv(tmp_path / "a.csv", lines, header="none")
    assert names_of(source) == ["column_0", "column_1"]


def test_a_ragged_file_is_read_by_the_delimiter_of_its_header(tmp_path):
    with pytest.raises(InputError, match="Row #3: Expected 2 columns, got 1"):
        read_csv(tmp_path / "a.csv", "a;b\n1;2\n3\n4;5\n")


def test_a_header_that_is_repeated_is_told(tmp_path):
    text = csv_of(a=[n / 7 for n in NUMBERS], b=["x", "y"])
    for times, more in ((2, r"\."), (3, ", one of 2")):
        with pytest.raises(
            InputError, match=f"row/40, counted from 0, repeats it{more}"
        ):
            read_csv(tmp_path / "a.csv", text * times)


def test_many_categories_are_said(tmp_path):
    text = "result\n" + "".join(f"{i % 7}-{i % 5}\n" for i in range(70))
    (note,) = read_csv(tmp_path / "a.csv", text).notes
    assert note == "column 'result': many categories, 35 such as '0-0'"


def test_excels_own_line_tells_the_delimiter(tmp_path):
    source = read_csv(tmp_path / "a.csv", "sep=;\r\na;b\r\n1;x, y\r\n2;z, y\r\n")
    assert names_of(source) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c\n1 2 3\n4  5 6\n", "separated by blanks"),
        ('"a" "b c"\n2.5 "x y"\n3.5 z\n', "separated by blanks"),
        ('"a" "b"\n"1" 20.3 4\n"2" 21 6\n', "separated by blanks"),
        ('"a" "b"\n"Fiat 128" 20.3 4\n"Mazda RX4" 21 6\n', "separated by blanks"),
        ("a b\n1 20.3 4\n2 21 6\n", "separated by blanks"),
        ('"a","b"\n"Fiat, 1",20.3,4\n"Mazda",21,6\n', "has one name less than the"),
        ("a\tb\nx\t20.3\t4\ny\t21\t6\n", "has one name less than the rows"),
    ],
)
def test_tables_as_r_writes_them_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_csv(tmp_path / "a.csv", text)


def test_text_with_blanks_is_one_column(tmp_path):
    for text in ("text\nis one\nis two\n", "a text\nthis is one\nthat is two\n"):
        assert len(read_csv(tmp_path / "a.csv", text).columns) == 1


def test_commas_of_a_file_with_semicolons_are_decimal(tmp_path):
    source = read_csv(tmp_path / "a.csv", "a;b\n1,250;x\n2,500;y\n")
    np.testing.assert_array_equal(source.train.read()[:, 0], [1.25, 2.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "text in UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-be"), "null characters, as text in UTF-16"),
        (b"PK\x03\x04" + b"x" * 99, "as Excel's workbooks are"),
        (b"PAR1" + b"x" * 99, "it is a Parquet file"),
        (b"\n<!DOCTYPE html>\n<p>Not found</p>\n", "it is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
        ("a,b\n1,2\nü,3\n".encode("cp1252"), "0xfc in line 3 is not UTF-8"),
    ],
)
def test_encodings_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_csv(tmp_path / "a.csv", content)


@pytest.mark.parametrize(
    "name", ["Income, USD", 'say "x"', " e ", "größe", "two\nlines", "c=d", "#h", "--i"]
)
def test_names_of_any_characters(tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    text = (
        f"a,{quoted},b,{quoted}2\n".replace('"2', '2"') + "1,u,3.5,x\n2,v,2.5,y\n" * 9
    )
    options = {"label_column": name, "categorical_columns": (f"{name}2", "a")}
    source = read_csv(tmp_path / "a.csv", text, **options)
    assert source.class_names == ("u", "v")
    assert source.columns[0].categories == ("1", "2")
    options = {"label_column": f"{name}2", "drop_columns": (name,)}
    assert names_of(read_csv(tmp_path / "a.csv", text, **options)) == ["a", "b"]
