"""Tests of tables: inferred columns, labels, messages about broken files."""

import datetime
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vicreg_keras.data.columns import Column
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.data.sources import load_csv, load_parquet, table_files
from vicreg_keras.errors import InputError
from vicreg_keras.settings import DataOptions

NUM_ROWS = 40


def read_csv(path, text, **options):
    """The source of a csv file with this text."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_csv(str(path), DataOptions(**options))


def csv_of(**columns):
    """Csv text with these columns, of which lists go round until there are enough."""
    lines = [",".join(columns)]
    for row in range(NUM_ROWS):
        lines.append(
            ",".join(str(cells[row % len(cells)]) for cells in columns.values())
        )
    return "\n".join(lines) + "\n"


# Inferred columns.


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2.5", "+3e2", ".5"], [1, -2.5, 300, 0.5]),
        (["1", " 2 ", " ", " ? "], [1, 2, np.nan, np.nan]),
        (["1", "", "NA", "nan", "NULL", "?", "None"], [1, *[np.nan] * 6]),
        (["true", "False", "NA"], [1, 0, np.nan]),
        (["1970-01-02", "2024-02-29", ""], [1, 19782, np.nan]),
        (["1970-01-01 06:00", "1970-01-01T12:00:00"], [0.25, 0.5]),
        (["1970-01-02T00:00:00Z", "1970-01-02T00:00:00+12:00"], [1, 0.5]),
        (["7", "7"], [7, 7]),
    ],
    ids=str,
)
def test_numbers(tmp_path, cells, values):
    source = read_csv(tmp_path / "a.csv", csv_of(a=cells, b=[1]))
    assert source.columns == (Column("a"), Column("b"))
    rows = source.train.read()
    assert rows.dtype == np.float32 and rows.shape == (NUM_ROWS, 2)
    np.testing.assert_array_equal(rows[: len(cells), 0], np.float32(values))


@pytest.mark.parametrize(
    ("cells", "categories", "codes"),
    [
        (["b", "a", " b ", "", '"c, d"'], ("a", "b", "c, d"), [1, 0, 1, np.nan, 2]),
        # Numbers and text, neither of them a few mistakes among the other.
        (["1", "2", "many", "NA"], ("1", "2", "many"), [0, 1, 2, np.nan]),
        (["true", "maybe"], ("maybe", "true"), [1, 0]),
        (["2024-01-01", "later"], ("2024-01-01", "later"), [0, 1]),
        (["2024-01-01", "5"], ("2024-01-01", "5"), [0, 1]),
        (["é", "ä"], ("ä", "é"), [1, 0]),
    ],
    ids=str,
)
def test_categories(tmp_path, cells, categories, codes):
    source = read_csv(tmp_path / "a.csv", csv_of(a=cells, b=[1]))
    assert source.columns == (Column("a", categories), Column("b"))
    np.testing.assert_array_equal(source.train.read()[: len(cells), 0], codes)


def test_the_last_block_may_decide_what_a_column_is(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_BLOCK_BYTES", 256)
    cells = ["1"] * 150 + [""] * 150 + ["high", "low"] * 50
    text = "a,b\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    source = read_csv(tmp_path / "a.csv", text)
    assert source.columns[0] == Column("a", ("1", "high", "low"))
    rows = source.train.read()
    np.testing.assert_array_equal(rows[:, 1], np.arange(400))
    codes = [0] * 150 + [np.nan] * 150 + [1, 2] * 50
    np.testing.assert_array_equal(rows[:, 0], codes)


def test_header_is_read_as_spreadsheets_write_it(tmp_path):
    text = b'\xef\xbb\xbf"a, b", c\r\n1,2\r\n\r\n3,"4"\r\n'
    source = read_csv(tmp_path / "a.csv", text)
    assert source.columns == (Column("a, b"), Column("c"))
    np.testing.assert_array_equal(source.train.read(), [[1, 2], [3, 4]])
    assert source.train.names == ("row/0", "row/1")
    assert source.train.labels is None and source.class_names is None


def test_quoted_text_may_have_commas_quotes_and_lines(tmp_path):
    text = 'a,b\n1,"x, ""y"""\n2,"u\nv"\n'
    source = read_csv(tmp_path / "a.csv", text)
    assert source.columns[1] == Column("b", ("u\nv", 'x, "y"'))


def test_parquet_types(tmp_path):
    day = datetime.date(1970, 1, 3)
    noon = datetime.datetime(1970, 1, 2, 12)
    table = pa.table(
        {
            "integer": pa.array([1, None, 3, 4], pa.int64()),
            "float": pa.array([0.5, float("nan"), None, 2]),
            "half": pa.array(np.float16([0.5, np.nan, 1, 2])),
            "price": pa.array([1, None, 2, 3], pa.decimal128(9, 2)),
            "yes": [True, False, None, True],
            "day": [day, day, None, day],
            "time": pa.array([noon, None, noon, noon], pa.timestamp("ns")),
            "zoned": pa.array([noon, None, noon, noon], pa.timestamp("s", "UTC")),
            "text": ["b", "a", None, "b"],
            "packed": pa.array(["b", "a", "?", "b"]).dictionary_encode(),
            "digits": pa.array(["1", " 2", "NA", "4"], pa.large_string()),
            "tags": [[1], [2], [3], [4]],
        }
    )
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(table, path, row_group_size=3)
    source = load_parquet(str(path), DataOptions(drop_columns=("tags",)))
    assert [column.name for column in source.columns] == table.column_names[:-1]
    assert [column.categories for column in source.columns[8:]] == [
        ("a", "b"),
        ("a", "b"),
        None,
    ]
    nan = np.nan
    expected = [
        [1, 0.5, 0.5, 1, 1, 2, 1.5, 1.5, 1, 1, 1],
        [nan, nan, nan, nan, 0, 2, nan, nan, 0, 0, 2],
        [3, nan, 1, 2, nan, nan, 1.5, 1.5, nan, nan, nan],
        [4, 2, 2, 3, 1, 2, 1.5, 1.5, 1, 1, 4],
    ]
    np.testing.assert_array_equal(source.train.read(), np.float32(expected))
    with pytest.raises(ValueError, match=r"'tags' of list.*drop_columns=tags"):
        load_parquet(str(path), DataOptions())


# Labels.


@pytest.mark.parametrize(
    ("cells", "class_names", "labels"),
    [
        (["dog", "cat", " dog"], ("cat", "dog"), [1, 0, 1]),
        (["10", "9", "-1"], ("-1", "9", "10"), [2, 1, 0]),
        (["1.0", "0"], ("0", "1"), [1, 0]),
        (["1", "a"], ("1", "a"), [0, 1]),
        (["true", "false"], ("false", "true"), [1, 0]),
    ],
    ids=str,
)
def test_labels(tmp_path, cells, class_names, labels):
    text = csv_of(a=range(NUM_ROWS), y=cells)
    source = read_csv(tmp_path / "a.csv", text, label_column="y")
    assert source.columns == (Column("a"),)
    assert source.class_names == class_names
    assert source.train.labels.dtype == np.int64
    assert source.train.labels[: len(labels)].tolist() == labels


def test_parquet_labels(tmp_path):
    path = tmp_path / "a.parquet"
    table = {
        "a": np.arange(20.0),
        "flag": [False, True] * 10,
        "kind": pa.array(["y", "x"] * 10).dictionary_encode(),
    }
    pa.parquet.write_table(pa.table(table), path, row_group_size=7)
    loaded = load_dataset(f"parquet:{path}", label_column="flag")
    assert loaded.class_names == ("false", "true")
    assert loaded.columns[1] == Column("kind", ("x", "y"))
    numbers = [int(name.removeprefix("row/")) for name in loaded.train.names]
    assert loaded.train.labels.tolist() == [number % 2 for number in numbers]
    loaded = load_dataset(f"parquet:{path}", label_column="kind", drop_columns=["flag"])
    assert loaded.class_names == ("x", "y") and loaded.example_shape == (1,)


# Broken files. Each has one line that names the file.

LETTERS = [f"{a}{b}" for a in "abcdefghij" for b in "klmn"]
NUMBERS = list(range(NUM_ROWS))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "first line names its columns.*line is empty"),
        ("a,b\n", {}, "at least one row below the header.*with none"),
        ("a,b", {}, "at least one row below the header.*with none"),
        ("a,b\n1,2\n3\n", {}, "2 cells in each line.*with 1 in line 3"),
        ("a,b\n1,2\n3,4,5\n", {}, "2 cells in each line.*with 3 in line 3"),
        (bytes(range(256)) * 9, {}, "text in UTF-8.*other bytes in its first bytes"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), {}, "text in UTF-8.*other bytes"),
        ("a,b\n1,é\n".encode("latin-1"), {}, "text in UTF-8.*bytes in column 'b'"),
        ("é,b\n1,2\n".encode("latin-1"), {}, "text in UTF-8.*bytes in its header"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "text in UTF-8.*Save it as CSV in UTF-8"),
        ('a,b\n1,"2\n' + "3,4\n" * 9, {}, "a double quote without its end"),
        ('a,b\n1,"2\n3,4\n', {"drop_columns": ("b",)}, "a double quote without its"),
        ("a;b\n1;2\n", {}, "separated by commas.*semicolons in its header"),
        ("a,b,a\n1,2,3\n", {}, "different names.*'a' more than once"),
        (",a\n0,1\n", {}, r"a name for every column.*column 1 of 2.*index=False"),
        (
            csv_of(alpha=[1], gamma=[2]),
            {"label_column": "alhpa"},
            "label_column='alhpa'; near names are 'alpha'. Correct label_column",
        ),
        (
            csv_of(alpha=[1], gamma=[2]),
            {"drop_columns": ("y",)},
            "drop_columns='y'; others are 'alpha', 'gamma'",
        ),
        (
            csv_of(**dict.fromkeys("abcdefg", [1])),
            {"label_column": "label"},
            "others are 'a', 'b', 'c', 'd', 'e', ...",
        ),
        (
            csv_of(a=[1], b=[1]),
            {"label_column": "a", "drop_columns": ("b",)},
            r"one column beside those left out.*\['a', 'b'\]",
        ),
        (
            csv_of(a=[1], y=["u", "v", "", "u"]),
            {"label_column": "y"},
            "label in every row.*'y' with 10 missing, the first in row/2",
        ),
        (
            csv_of(a=[1], y=[1, 0.5]),
            {"label_column": "y"},
            "classes: text or whole numbers.*0.5 in row/1",
        ),
        (
            csv_of(a=[1], y=[1, "1e20"]),
            {"label_column": "y"},
            r"classes: text or whole numbers.*1e\+20 in row/1",
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
        (csv_of(a=[1, "-1e39"]), {}, r"finite in float32.*with -1e\+39 in row/1"),
        (csv_of(a=[1, "1e999"]), {}, "finite in float32.*with inf in row/1"),
        (
            csv_of(b=[1], a=[*NUMBERS[:29], "12 kg", *NUMBERS[30:]]),
            {},
            "numbers, as in 97.5 % .* column 'a'.*with '12 kg' in row/29.*columns=a",
        ),
        (
            csv_of(a=[1], key=LETTERS, name=LETTERS),
            {},
            "at most 100 categories.*'key', 'name'. Use drop_columns=key,name",
        ),
        (csv_of(a=[1], b=["NA"], c=[""]), {}, "nothing in 'b', 'c'. .*columns=b,c"),
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
    with pytest.raises(ValueError, match="99.8 %.*'b'.*'x' in row/400"):
        read_csv(tmp_path / "a.csv", "\n".join(lines))
    lines[401] = "400,1e99"
    with pytest.raises(ValueError, match="'b' with 1e.99 in row/400"):
        read_csv(tmp_path / "a.csv", "\n".join(lines))
    lines[401] = "400"
    with pytest.raises(ValueError, match="with 1 in line 402"):
        read_csv(tmp_path / "a.csv", "\n".join(lines))


def test_text_of_many_values_is_no_category(tmp_path):
    path = tmp_path / "a.csv"
    for num_values, shown in ((100, True), (101, False)):
        text = "a\n" + "".join(f"v{i % num_values}\n" for i in range(1000))
        if shown:
            assert len(read_csv(path, text).columns[0].categories) == 100
        else:
            with pytest.raises(ValueError, match="at most 100 categories"):
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
    with pytest.raises(InputError, match="labels in a column that is kept.*'b'"):
        load_dataset(f"csv:{tmp_path}/a.csv", label_column="b", drop_columns=["b"])


# Datasets of tables.


@pytest.mark.parametrize(
    ("name", "shape", "num_classes", "first_column", "first_class"),
    [
        ("digits_table", (1797, 64), 10, "pixel_0_0", "0"),
        ("breast_cancer", (569, 30), 2, "mean radius", "malignant"),
        ("wine", (178, 13), 3, "alcohol", "class_0"),
        ("iris", (150, 4), 3, "sepal length (cm)", "setosa"),
    ],
)
def test_bundled_tables(name, shape, num_classes, first_column, first_class):
    from sklearn import datasets

    raw = getattr(datasets, f"load_{name.removesuffix('_table')}")()
    loaded = load_dataset(name)
    splits = (loaded.train, loaded.validation, loaded.test)
    assert sum(len(split) for split in splits) == shape[0]
    assert loaded.example_shape == shape[1:]
    assert loaded.num_classes == num_classes
    assert loaded.class_names[0] == first_class
    assert len(loaded.columns) == shape[1]
    assert loaded.columns[0] == Column(first_column)
    counts = np.array([np.bincount(split.labels) for split in splits])
    assert np.abs(counts[2] - 0.2 * counts.sum(axis=0)).max() <= 1
    for split in splits:
        numbers = [int(name.removeprefix("row/")) for name in split.names]
        rows = split.read(np.arange(len(split)))
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, raw.data[numbers].astype(np.float32))
        np.testing.assert_array_equal(split.labels, raw.target[numbers])


def test_digits_have_the_same_splits_as_images_and_as_a_table():
    images, table = load_dataset("digits"), load_dataset("digits_table")
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(table, part), getattr(images, part)
        numbers = [name.removeprefix("row/") for name in ours.names]
        assert numbers == [name.removeprefix("digits/") for name in theirs.names]
    assert images.columns is None


def test_dataset_of_a_csv_file(tmp_path):
    text = csv_of(a=NUMBERS, b=["x", "y", ""], key=LETTERS, y=["no", "yes"])
    (tmp_path / "a.csv").write_text(text)
    loaded = load_dataset(
        f"csv:{tmp_path}/a.csv", label_column="y", drop_columns=["key"]
    )
    assert loaded.columns == (Column("a"), Column("b", ("x", "y")))
    assert loaded.example_shape == (2,) and loaded.class_names == ("no", "yes")
    splits = (loaded.train, loaded.validation, loaded.test)
    assert [len(split) for split in splits] == [29, 3, 8]
    for split in splits:
        numbers = np.array([int(name.removeprefix("row/")) for name in split.names])
        np.testing.assert_array_equal(split.read(np.arange(len(split)))[:, 0], numbers)
        np.testing.assert_array_equal(split.labels, numbers % 2)
    assert np.bincount(loaded.test.labels).tolist() == [4, 4]
    batch = next(iter(loaded.train.training_batches(8, seed=0)))
    assert batch.shape == (8, 2) and batch.dtype.name == "float32"
    unlabeled = load_dataset(f"csv:{tmp_path}/a.csv", drop_columns=["key", "y"])
    assert unlabeled.test is None and unlabeled.num_classes is None
