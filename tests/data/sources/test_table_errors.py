"""Tests of tables that are refused: each message is one line that names the file."""

import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.data.sources.conftest import LETTERS, NUMBERS, csv_of, read_csv
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.data.sources import table_files
from vicreg_keras.errors import InputError


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "below a header.*Empty CSV file"),
        ("a,b\n", {}, "at least one row below the header.*with none"),
        ("a,b", {}, "below a header.*Empty CSV file"),
        (
            "a,b\n1,2\n3\n",
            {},
            "as many cells in each line.*Row #3: Expected 2 columns, got 1",
        ),
        (
            "a,b\n1,2\n3,4,5\n",
            {},
            "as many cells in each line.*Row #3: Expected 2 columns, got 3",
        ),
        (bytes(range(256)) * 9, {}, "text in UTF-8"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), {}, "text in UTF-8.*uncompressed"),
        ("a,b\n1,2".encode("utf-16-le"), {}, "text in UTF-8.*null characters"),
        (
            "a,b\n1,é\n".encode("latin-1"),
            {},
            "0xe9 in line 2 is not UTF-8; it may be.*Latin-1",
        ),
        ("é,b\n1,2\n".encode("latin-1"), {}, "0xe9 in line 1 is not UTF-8"),
        (
            "a,b\n1,2\n".encode("utf-16"),
            {},
            "it is text in UTF-16.*save it anew as CSV in UTF-8",
        ),
        ('a,b\n1,"2\n' + "3,4\n" * 9, {}, "a double quote without its end"),
        ('a,b\n1,"2\n3,4\n', {"drop_columns": ("b",)}, "a double quote without its"),
        ("a,b,a\n1,2,3\n", {}, "names each column once.*with 'a'.*header=none"),
        ("a,,b\n0,1,2\n", {}, "names each column once.*with ''"),
        (
            csv_of(alpha=[1], gamma=[2]),
            {"label_column": "alhpa"},
            "label_column.*without 'alhpa'; near names are 'alpha'. Correct",
        ),
        (
            csv_of(alpha=[1], gamma=[2]),
            {"drop_columns": ("y",)},
            "drop_columns.*without 'y'; others are 'alpha', 'gamma'",
        ),
        (
            csv_of(**dict.fromkeys("abcdefg", [1])),
            {"label_column": "label"},
            "others are 'a', 'b', 'c', 'd', 'e', ...",
        ),
        (
            csv_of(a=[1], b=[1]),
            {"label_column": "a", "drop_columns": ("b",)},
            "one column beside those left out.*'a', 'b'",
        ),
        (
            csv_of(a=[1], y=["u", *[""] * 39]),
            {"label_column": "y"},
            "labels of two classes or more.*'y' with 1 labels of 1 in 40 rows",
        ),
        (
            csv_of(a=[1], y=[1, 0.5]),
            {"label_column": "y"},
            "text or a whole number.*0.5 in row/1",
        ),
        (
            csv_of(a=[1], y=[1, "1e20"]),
            {"label_column": "y"},
            r"text or a whole number.*1e\+20 in row/1",
        ),
        (
            csv_of(a=[1], y=NUMBERS),
            {"label_column": "y"},
            "labels that several examples share.*40 values in 40 rows",
        ),
        (
            csv_of(a=[1, 2, "inf"]),
            {},
            "finite in float32.*'a' with inf in row/2",
        ),
        (csv_of(a=["0.125", "inf", "0.250"]), {}, "finite in float32.*inf in row/1"),
        (csv_of(a=[1, "-1e39"]), {}, r"finite in float32.*with -1e\+39 in row/1"),
        (csv_of(a=[1, "1e999"]), {}, "finite in float32.*with inf in row/1"),
        (
            csv_of(b=[1], a=[*NUMBERS[:29], "12 kg", *NUMBERS[30:]]),
            {},
            "'12 kg' in row/29 of column 'a', beside numbers in 97.5 %.*drop_columns=a",
        ),
        (
            csv_of(a=[1], key=[*LETTERS[:39], "ak"], name=[*LETTERS[:39], "ak"]),
            {},
            "39 different texts, such as 'ak', in column 'key'; 39.*columns=key,name",
        ),
        (
            csv_of(b=["NA"], c=[""]),
            {},
            "a column to learn from.*2 columns 'b', 'c' .nothing.",
        ),
    ],
)
def test_broken_csv(tmp_path, text, options, message):
    path = tmp_path / "broken.csv"
    with pytest.raises(ValueError, match=message) as error:
        read_csv(path, text, **options)
    assert "\n" not in str(error.value)
    assert "broken.csv" in str(error.value)


def test_mistakes_and_ragged_rows_are_counted_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_BLOCK_BYTES", 256)
    lines = ["a,b"] + [f"{i},{i}" for i in range(500)]
    lines[401] = "400,x"
    with pytest.raises(
        ValueError, match="'x' in row/400 of column 'b', beside numbers in 99.8"
    ):
        read_csv(tmp_path / "a.csv", "\n".join(lines))
    lines[401] = "400,1e99"
    with pytest.raises(ValueError, match="'b' with 1e.99 in row/400"):
        read_csv(tmp_path / "a.csv", "\n".join(lines))
    lines[401] = "400"
    with pytest.raises(ValueError, match="Row #402: Expected 2 columns, got 1"):
        read_csv(tmp_path / "a.csv", "\n".join(lines))


def test_text_of_many_values_is_no_category(tmp_path):
    path = tmp_path / "a.csv"
    for num_values, shown in ((100, True), (101, False)):
        text = "a\n" + "".join(f"v{i % num_values}\n" for i in range(1000))
        if shown:
            assert len(read_csv(path, text).columns[0].categories) == 100
        else:
            with pytest.raises(ValueError, match="101 different texts"):
                read_csv(path, text)


def test_single_row_cannot_be_divided(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="enough examples for training.*Add examples"):
        load_dataset(f"csv:{tmp_path}/a.csv")


def test_files_that_are_not_there_or_not_parquet(tmp_path):
    for scheme in ("csv", "parquet"):
        with pytest.raises(InputError, match=f"existing {scheme}.*{scheme}:no"):
            load_dataset(f"{scheme}:nowhere")
    path = tmp_path / "a.parquet"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="readable parquet file.*a.parquet") as error:
        load_dataset(f"parquet:{path}")
    assert "\n" not in str(error.value)
    pa.parquet.write_table(pa.table({"a": pa.array([], pa.float64())}), path)
    with pytest.raises(ValueError, match="at least one row"):
        load_dataset(f"parquet:{path}")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("csv:a.csv", {"image_size": 32}),
        ("iris", {"image_size": 8}),
        ("csv:a.csv", {"data_dir": "/data"}),
        ("digits", {"data_dir": "/data"}),
        ("digits", {"label_column": "y"}),
        ("iris", {"drop_columns": ("a",)}),
        ("cifar10", {"label_column": "y"}),
    ],
)
def test_options_without_effect_are_refused(name, options):
    ((option, value),) = options.items()
    with pytest.raises(InputError) as error:
        load_dataset(name, **options)
    assert f"no {option} for dataset={name}. " in str(error.value)
    assert f"Received: {option}={value!r}. Leave" in str(error.value)


def test_names_and_columns_that_contradict_each_other(tmp_path):
    (tmp_path / "a.csv").write_text(csv_of(a=NUMBERS, b=["x", "y"]))
    with pytest.raises(InputError, match="Expected `iris` alone.*'iris:x'"):
        load_dataset("iris:x")
    with pytest.raises(InputError, match="label_column that is not dropped.*'b'"):
        load_dataset(f"csv:{tmp_path}/a.csv", label_column="b", drop_columns=["b"])
