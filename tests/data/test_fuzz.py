"""Data with random defects: read as a careful person would, or refused in one line.

And alike on all paths: training, the same files given as `--input`, and the graph of a
SavedModel. `FUZZ_CASES=3000` tries other cases, so many in all.
"""

import csv
import functools
import os
import pathlib
import re
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data import fuzz_expected, fuzz_text
from tests.data.fuzz_arrays import make_archives
from tests.data.fuzz_cells import NUM_ROWS, Made
from tests.data.fuzz_draw import Draw
from tests.data.fuzz_files import read_name
from tests.data.fuzz_folders import make_folders
from tests.data.fuzz_layouts import shown_path
from tests.data.fuzz_tables import make_tables
from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.data.sources.base import Known
from vicreg_keras.errors import InputError
from vicreg_keras.export import image_bytes
from vicreg_keras.export.table_cells import decode_cells
from vicreg_keras.settings import DataOptions

# A case follows from its seed, which hypothesis reports: there is nothing to shrink.
SEEDS = st.integers(0, 2**32 - 1)
_NUM_CASES = int(os.environ.get("FUZZ_CASES", "300"))


def cases(share):
    """Settings of a test with this share of all cases."""
    return settings(
        max_examples=round(_NUM_CASES * share),
        derandomize="FUZZ_CASES" not in os.environ,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


@functools.lru_cache
def graph(shape, max_pixel):
    """Decodes image files as a SavedModel does."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def decode(content):
        return image_bytes.decode_images(content, shape, max_pixel=max_pixel)

    return decode


@cases(0.3)
@given(SEEDS)
def test_folders(seed):
    case = make_folders(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder, "data")
        root.mkdir()
        case.write(root)
        dataset = fuzz_expected.load(f"folder:{root}", case.options, case.expected)
        if dataset is None:
            return
        _check_user_images(dataset, case, root)
        if not os.environ.get("NOGRAPH"):
            _check_graph_of_images(dataset, case)


def _check_user_images(dataset, case, root):
    """The same files as `--input` gives them, all in a folder and each alone."""
    for path in case.broken:  # Also of a split that is not read.
        (root / path).unlink()
    user = dataset.load_user_examples(str(root))
    places = {name: i for i, name in enumerate(user.names)}
    trained = fuzz_expected.examples_by_name(dataset)
    indices = [places[shown_path(f"{root}/{name}")] for name in trained]
    np.testing.assert_array_equal(user.read(indices), np.stack(list(trained.values())))
    for path in [*case.pictures][::7]:
        if shown_path(path) in trained:
            user = dataset.load_user_examples(f"{root}/{path}")
            np.testing.assert_array_equal(user.read(), [trained[shown_path(path)]])


def _check_graph_of_images(dataset, case):
    """The same files in the graph: equal, or refused for their kind."""
    trained = fuzz_expected.examples_by_name(dataset)
    decode = graph(dataset.example_shape, dataset.max_pixel)
    read = {shown_path(path): one for path, one in case.pictures.items()}
    in_graph = [name for name in trained if read[name].in_graph]
    if in_graph:
        received = decode(tf.constant([read[name].content for name in in_graph]))
        for name, pixels in zip(in_graph, received.numpy(), strict=True):
            _check_pixels(pixels, trained[name], read[name], name)
    for name in trained:
        if name not in in_graph:
            try:
                (pixels,) = decode(tf.constant([read[name].content])).numpy()
            except tf.errors.InvalidArgumentError:
                continue
            _check_pixels(pixels, trained[name], read[name], name)
    for path, content in case.broken.items():
        with pytest.raises(tf.errors.InvalidArgumentError):
            print(path, decode(tf.constant([content])))


def _check_pixels(pixels, expected, one, name):
    # Of lossy files and of resized ones decoders round otherwise.
    is_resized = one.pixels.shape != expected.shape
    limit = 3 * one.is_lossy + is_resized
    difference = np.abs(pixels.astype(int) - expected).max()
    assert difference <= limit, (name, difference)


@cases(0.25)
@given(SEEDS)
def test_npz(seed):
    case = make_archives(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "data.npz")
        path.write_bytes(case.content())
        dataset = fuzz_expected.load(f"npz:{path}", case.options, case.expected)
        if dataset is None:
            return
        if dataset.columns is None:
            _check_saved_images(dataset, case, path.with_name("images"))
            _check_known_range(dataset, case, path.with_name("some.npz"))
        else:
            _check_matrix(dataset, case, path.with_name("more.npz"))


def _check_saved_images(dataset, case, folder):
    """Images of the file, saved as PNG with their own values: `--input`, the graph."""
    folder.mkdir()
    images = dataset.train.read()[:3]
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    if dataset.max_pixel > 255:
        return
    np.testing.assert_array_equal(
        dataset.load_user_examples(str(folder)).read(), images
    )
    content = [(folder / f"{i}.png").read_bytes() for i in range(3)]
    received = graph(dataset.example_shape, dataset.max_pixel)(tf.constant(content))
    np.testing.assert_array_equal(received, images)


def _check_known_range(dataset, case, path):
    """Some of the images, which may be darker, by the range of all of them."""
    (name,) = re.findall("train is '(.*?)'", dataset.notes[0])
    if len(case.arrays[name]) != len(case.expected.splits["train"]):
        return
    np.savez(path, images=case.arrays[name][5:15])
    data = DataOptions(dataset=f"npz:{path}", image_size=None)
    some = open_dataset(data, 0, Known(max_pixel=dataset.max_pixel))
    trained = fuzz_expected.examples_by_name(dataset)
    for row, example in fuzz_expected.examples_by_name(some).items():
        number = 5 + int(row.removeprefix("train/"))
        np.testing.assert_array_equal(example, trained[f"train/{number}"])


def _check_matrix(dataset, case, path):
    """The same table with its columns in another order, and others among them."""
    order = np.random.default_rng(0).permutation(len(dataset.columns))
    names = [dataset.columns[i].name for i in order]
    examples = dataset.train.read()
    more = np.arange(len(examples), dtype=np.float32)[:, None]
    more = np.concatenate([examples[:, order], more], axis=1)
    np.savez(path, x=more, column_names=[*names, "new"])
    user = dataset.load_user_examples(str(path))
    np.testing.assert_array_equal(user.read(), examples)
    np.savez(path, x=more[:, 1:], column_names=[*names[1:], "new"])
    with pytest.raises(InputError) as error:
        dataset.load_user_examples(str(path))
    fuzz_expected.check_message(str(error.value))
    assert names[0] in str(error.value)


@cases(0.45)
@given(SEEDS)
def test_tables(seed):
    case = make_tables(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"data.{case.suffix}")
        case.write(path)
        name = f"{case.suffix}:{path}"
        dataset = fuzz_expected.load(name, case.options, case.expected)
        if dataset is None:
            return
        _check_user_table(dataset, case, path)
        _check_graph_of_cells(dataset, case)
        if "header" not in case.options:
            _check_columns_by_name(dataset, case, path)
            _check_other_cells(dataset, case, path)
            _check_odd_cells(dataset, case, path, Draw(seed))
            _check_types(dataset, case, path.with_name("typed.parquet"))


def _check_user_table(dataset, case, path):
    """The same file as `--input` gives it."""
    trained = fuzz_expected.examples_by_name(dataset)
    user = dataset.load_user_examples(str(path))
    expected = np.stack([trained[name] for name in user.names])
    np.testing.assert_array_equal(user.read(), expected)


def _check_columns_by_name(dataset, case, path):
    """The same table with its columns in another order, with one more or less."""
    trained = fuzz_expected.examples_by_name(dataset)
    case.header = [*reversed(case.header), "added"]
    if "Unnamed: 0" in case.header:  # In another place it must have a name.
        case.header.remove("Unnamed: 0")
    case.columns["added"] = Made(["new"] * NUM_ROWS, None)
    other = path.with_name(f"other.{case.suffix}")
    case.write(other)
    user = dataset.load_user_examples(str(other))
    np.testing.assert_array_equal(user.read(), [trained[row] for row in user.names])
    data = DataOptions(dataset=f"{case.suffix}:{other}", label_column=case.label)
    again = open_dataset(data, 0, Known(columns=dataset.columns))
    received = fuzz_expected.examples_by_name(again)
    assert received.keys() == trained.keys()
    for row, example in received.items():
        np.testing.assert_array_equal(example, trained[row])
    case.header.remove(gone := next(name for name in case.header if name in case.read))
    case.write(other)
    case.header.append(gone)
    with pytest.raises(InputError) as error:
        dataset.load_user_examples(str(other))
    fuzz_expected.check_message(str(error.value))
    assert read_name(gone) in str(error.value)


def _check_graph_of_cells(dataset, case):
    """The cells of the file in the graph of a SavedModel."""
    trained = fuzz_expected.examples_by_name(dataset)
    cells = tf.constant(_cells(dataset, case))
    received = decode_cells(cells, dataset.columns).numpy()
    expected = np.stack([trained[f"row/{row}"] for row in range(NUM_ROWS)])
    np.testing.assert_array_equal(received, expected)


def _cells(dataset, case):
    """All cells as text, in the order of the dataset's columns."""
    names = {read_name(name): name for name in case.columns}
    columns = [case.columns[names[one.name]].cells for one in dataset.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _check_other_cells(dataset, case, path):
    """Cells as training had none: missing categories, numbers that are refused."""
    if len(dataset.columns) == 1:  # Text with blanks is read as several columns.
        return
    cells = np.array(_cells(dataset, case), object)
    column = dataset.columns[i := len(dataset.columns) // 2]
    cells[1, i] = "unheard of"
    other = path.with_name("cells.csv")
    with other.open("w", newline="") as file:
        names = [one.name for one in dataset.columns]
        csv.writer(file).writerows([names, *cells.tolist()])
    if column.categories is None:
        with pytest.raises(InputError) as error:
            dataset.load_user_examples(str(other))
        fuzz_expected.check_message(str(error.value))
        message = str(error.value)
        assert column.name in message and "unheard of" in message, message
        with pytest.raises(tf.errors.InvalidArgumentError, match="unheard of"):
            decode_cells(tf.constant(cells.tolist()), dataset.columns)
        return
    trained = fuzz_expected.examples_by_name(dataset)
    expected = np.stack([trained[f"row/{row}"] for row in range(NUM_ROWS)])
    expected[1, i] = np.nan
    user = dataset.load_user_examples(str(other)).read()
    np.testing.assert_array_equal(user, expected)
    received = decode_cells(tf.constant(cells.tolist()), dataset.columns)
    np.testing.assert_array_equal(received, expected)


def _check_odd_cells(dataset, case, path, draw):
    """Cells that may be anything: a file and a graph read them alike, or neither."""
    if len(dataset.columns) == 1:
        return
    other = path.with_name("odd.csv")
    for text in draw.some(fuzz_text.ODD_CELLS, 3, 3):
        cells = np.array(_cells(dataset, case), object)
        cells[1, draw.integer(0, len(dataset.columns) - 1)] = text
        with other.open("w", newline="") as file:
            names = [one.name for one in dataset.columns]
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *cells.tolist()])
        try:
            expected = dataset.load_user_examples(str(other)).read()
        except InputError as error:
            fuzz_expected.check_message(str(error))
            with pytest.raises(tf.errors.InvalidArgumentError):
                print(text, decode_cells(tf.constant(cells.tolist()), dataset.columns))
            continue
        received = decode_cells(tf.constant(cells.tolist()), dataset.columns)
        np.testing.assert_array_equal(received, expected)


def _check_types(dataset, case, path):
    """The same table in a Parquet file, in types of its own."""
    trained = fuzz_expected.examples_by_name(dataset)
    names = {read_name(name): name for name in case.columns}
    made = {one.name: case.columns[names[one.name]] for one in dataset.columns}
    if any(one.values is None for one in made.values()):
        return
    table = pa.table({name: one.in_types() for name, one in made.items()})
    if case.suffix == "csv" and any(map(pa.types.is_duration, table.schema.types)):
        return  # They were plain numbers in training.
    pyarrow.parquet.write_table(table, path)
    user = dataset.load_user_examples(str(path))
    np.testing.assert_array_equal(user.read(), [trained[row] for row in user.names])
