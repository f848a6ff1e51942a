"""SavedModels: numbered, whole, their signatures of the encoder's own numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.card import make_card
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.evaluate.linear_probe import LinearHead
from vicreg_keras.export import savedmodel
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.models.table_encoder import make_table_encoder
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import make_schema

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype("uint8")
CLASSES = ("cat", "dog", "frosch äöü")
RECIPE = "--encoder=tiny\n"


def make_head(width=32):
    random = np.random.default_rng(2)
    mean, scale = random.normal(size=width), random.uniform(0.5, 2, width)
    weights = random.normal(size=(width, 3)) * 0.05
    parts = (mean, scale, weights, np.array([0, 1, -np.inf]))
    return LinearHead(*(part.astype(np.float32) for part in parts))


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    """Two versions: the encoder alone, and with class names, recipe and head."""
    folder = tmp_path_factory.mktemp("run") / "encoder"
    export_savedmodel(encoder, folder, SHAPE)
    options = {"class_names": CLASSES, "recipe": RECIPE, "head": make_head()}
    version = export_savedmodel(encoder, folder, SHAPE, **options)
    assert version == folder / "2"
    return folder


@pytest.fixture(scope="module")
def signatures(folder):
    loaded = tf.saved_model.load(str(folder / "2"))
    # A signature holds its variables only weakly.
    return {**loaded.signatures, "": loaded}


def as_files(images):
    return tf.stack([tf.io.encode_png(image) for image in images])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_are_numbered_and_nothing_else_is_left(folder):
    assert names(folder) == ["1", "2"]
    loaded = tf.saved_model.load(str(folder / "1"))
    assert set(loaded.signatures) == {"serving_default", "serving_bytes"}
    assert names(folder / "1" / "assets") == []


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", ["serving_default", "serving_bytes"])
def test_gives_the_encoders_numbers(encoder, signatures, name, batch_size):
    images = IMAGES[:batch_size]
    given = {"image": tf.constant(images)}
    if name == "serving_bytes":
        given = {"image_bytes": as_files(images)}
    received = signatures[name](**given)
    assert set(received) == {"representation", "unit_representation"}
    expected = encoder(images, training=False).numpy()
    np.testing.assert_allclose(received["representation"], expected, rtol=1e-5)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(received["unit_representation"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["classify", "classify_bytes"])
def test_classifies_as_the_head_does(encoder, signatures, name):
    given = {"image": tf.constant(IMAGES)}
    if name == "classify_bytes":
        given = {"image_bytes": as_files(IMAGES)}
    received = signatures[name](**given)
    scores = make_head().scores(encoder(IMAGES, training=False).numpy())
    expected = tf.nn.softmax(scores).numpy()
    order = np.argsort(-expected, axis=1)
    np.testing.assert_allclose(
        received["probabilities"], np.take_along_axis(expected, order, 1), rtol=1e-4
    )
    texts = [[name.decode() for name in row] for row in received["class_names"].numpy()]
    assert texts == np.array(CLASSES)[order].tolist()
    assert received["probabilities"].numpy()[:, -1].tolist() == [0, 0, 0]


def test_statistics_of_the_batch_would_be_seen(encoder, signatures):
    weights = encoder.get_weights()
    expected = encoder(IMAGES, training=True)  # Moves the statistics, too.
    encoder.set_weights(weights)
    received = signatures["serving_default"](image=tf.constant(IMAGES))
    assert np.abs(received["representation"] - expected).max() > 0.1


def test_signatures_take_pixels_and_files(signatures):
    _, inputs = signatures["serving_default"].structured_input_signature
    assert inputs == {"image": tf.TensorSpec((None, *SHAPE), tf.uint8, name="image")}
    _, inputs = signatures["serving_bytes"].structured_input_signature
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    assert inputs == {"image_bytes": spec}
    for name in ("serving_default", "serving_bytes"):
        for output in signatures[name].structured_outputs.values():
            assert output.shape.as_list() == [None, 32]
            assert output.dtype == tf.float32


def test_holds_no_augmentation(signatures):
    signature = signatures["serving_default"]
    graph = signature.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    operations = {node.op for node in nodes}
    assert "Conv2D" in operations
    assert not [name for name in operations if "Random" in name]
    first, second = (
        signature(image=tf.constant(IMAGES))["representation"] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_class_names_and_recipe_lie_in_the_assets(folder):
    assets = folder / "2" / "assets"
    assert names(assets) == ["class_names.txt", "recipe.flags"]
    assert (assets / "class_names.txt").read_text("utf-8").splitlines() == [*CLASSES]
    assert (assets / "recipe.flags").read_text() == RECIPE


def test_class_names_with_line_ends_are_one_line_each(encoder, tmp_path):
    version = export_savedmodel(encoder, tmp_path, SHAPE, class_names=["a\nb", "c\x85"])
    assert (version / "assets" / "class_names.txt").read_text() == "a\\nb\nc\\x85\n"


def test_what_was_exported_is_exported_again(encoder, folder, tmp_path):
    again = export_savedmodel(load_encoder(folder), tmp_path, SHAPE, head=None)
    first, second = load_encoder(folder), load_encoder(again)
    np.testing.assert_array_equal(first(IMAGES), second(IMAGES))
    views = IMAGES + 0.4
    expected = encoder(views, training=False)
    np.testing.assert_allclose(second(views), expected, rtol=1e-5)


def test_rows_of_numbers_have_signatures_of_their_own(tmp_path):
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(32)])
    options = {"class_names": CLASSES, "head": make_head()}
    version = export_savedmodel(encoder, tmp_path, (5,), **options)
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == {"serving_default", "classify"}
    rows = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    received = loaded.signatures["serving_default"](row=tf.constant(rows))
    np.testing.assert_allclose(received["representation"], encoder(rows), rtol=1e-5)
    np.testing.assert_allclose(load_encoder(version)(rows), encoder(rows), rtol=1e-5)


def test_a_head_needs_a_name_for_each_class(encoder, tmp_path):
    for class_names, received in ((None, "None"), (("cat",), ".'cat',")):
        with pytest.raises(ValueError, match=f"3 classes. Received: {received}"):
            export_savedmodel(
                encoder, tmp_path, SHAPE, head=make_head(), class_names=class_names
            )
    assert names(tmp_path) == []


@pytest.mark.parametrize("changed", ["encoder", "head"])
def test_other_numbers_are_refused_and_earlier_versions_stay(
    changed, encoder, tmp_path, monkeypatch
):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"an earlier version")
    check = savedmodel._check
    head = make_head()
    other, other_head = encoder, head
    if changed == "encoder":
        other = keras.models.clone_model(encoder)  # With new weights.
    else:
        other_head = head._replace(weights=head.weights + 0.1 * np.eye(32, 3))
    monkeypatch.setattr(
        savedmodel,
        "_check",
        lambda encoder, loaded, examples, encoded, head: check(
            other, loaded, examples, encoded, other_head
        ),
    )
    with pytest.raises(FloatingPointError, match="values. Received: a difference"):
        export_savedmodel(encoder, tmp_path, SHAPE, head=head, class_names=CLASSES)
    assert names(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"an earlier version"


def test_numbers_that_are_none_are_refused(tmp_path):
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(not_a_number)])
    with pytest.raises(FloatingPointError, match="difference of nan"):
        export_savedmodel(encoder, tmp_path, SHAPE)
    assert names(tmp_path) == []


def not_a_number(images):
    return tf.reduce_mean(images, (1, 2)) * float("nan")


def test_a_table_with_every_kind_of_column_is_exported(tmp_path):
    lines = [
        f"{i % 9}:{i:02d},{i % 3 == 0},{i / 7:.2f},{'red' if i % 2 else 'blue'},"
        f"2020-01-{i % 28 + 1:02d},${i}.50"
        for i in range(40)
    ]
    header = "clock,truth,number,category,date,price"
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]))
    dataset = load_dataset(f"csv:{tmp_path}/a.csv")
    kinds = [column.kind for column in dataset.columns]
    assert kinds == ["times of day", "truth", "numbers", "numbers", "times", "numbers"]
    encoder = make_table_encoder(dataset.columns, dataset.table_statistics, (8, 4))
    card = make_card(dataset, make_schema(Settings(), dataset))
    version = export_savedmodel(encoder, tmp_path / "encoder", (6,), card=card)
    assert load_encoder(version).card.schema.columns == dataset.columns
