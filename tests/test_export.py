"""SavedModels: numbered, whole, and of the encoder's own numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import export, models

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype("uint8")


def make_encoder():
    encoder = models.make_encoder("tiny", SHAPE)
    # As after training: batch norm's statistics are not those of any batch.
    random = np.random.default_rng(0)
    encoder.set_weights(
        [w + random.uniform(0.1, 0.5, w.shape) for w in encoder.get_weights()]
    )
    return encoder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An encoder, its two versions, and the first one's signature."""
    keras.utils.set_random_seed(0)
    encoder, folder = make_encoder(), tmp_path_factory.mktemp("run") / "encoder"
    versions = [export.export_savedmodel(encoder, folder, SHAPE) for _ in range(2)]
    loaded = tf.saved_model.load(str(versions[0]))
    return encoder, folder, versions, loaded.signatures["serving_default"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_are_numbered_and_nothing_else_is_left(exported):
    _, folder, versions, _ = exported
    assert versions == [folder / "1", folder / "2"]
    assert names(folder) == ["1", "2"]
    assert all((version / "saved_model.pb").is_file() for version in versions)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_gives_the_encoders_numbers(exported, batch_size):
    encoder, _, _, signature = exported
    images = IMAGES[:batch_size]
    received = signature(image=tf.constant(images))
    assert list(received) == ["representation"]
    expected = encoder(images, training=False)
    np.testing.assert_allclose(received["representation"], expected, rtol=1e-5)


def test_statistics_of_the_batch_would_be_seen(exported):
    encoder, *_, signature = exported
    weights = encoder.get_weights()
    expected = encoder(IMAGES, training=True)  # Moves the statistics, too.
    encoder.set_weights(weights)
    received = signature(image=tf.constant(IMAGES))["representation"]
    assert np.abs(received - expected).max() > 0.1


def test_signature_takes_pixels_and_gives_representations(exported):
    *_, signature = exported
    _, inputs = signature.structured_input_signature
    assert list(inputs) == ["image"]
    assert inputs["image"].dtype == tf.uint8
    assert inputs["image"].shape.as_list() == [None, *SHAPE]
    outputs = signature.structured_outputs
    assert list(outputs) == ["representation"]
    assert outputs["representation"].dtype == tf.float32
    assert outputs["representation"].shape.as_list() == [None, 32]


def test_holds_no_augmentation(exported):
    *_, signature = exported
    graph = signature.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    operations = {node.op for node in nodes}
    assert "Conv2D" in operations
    assert not [name for name in operations if "Random" in name]
    first, second = (
        signature(image=tf.constant(IMAGES))["representation"] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_other_numbers_are_refused_and_earlier_versions_stay(
    exported, tmp_path, monkeypatch
):
    encoder, *_ = exported
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"an earlier version")
    write = export._write
    other = keras.models.clone_model(encoder)  # With new weights.
    monkeypatch.setattr(
        export, "_write", lambda encoder, path, shape: write(other, path, shape)
    )
    with pytest.raises(RuntimeError, match="the encoder's numbers. Received: a diff"):
        export.export_savedmodel(encoder, tmp_path, SHAPE)
    assert names(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"an earlier version"


def test_numbers_that_are_none_are_refused(exported, tmp_path, monkeypatch):
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(not_a_number)])
    with pytest.raises(RuntimeError, match="difference of nan"):
        export.export_savedmodel(encoder, tmp_path, SHAPE)
    assert names(tmp_path) == []


def not_a_number(images):
    return tf.reduce_mean(images, (1, 2)) * float("nan")


def test_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def killed(encoder, path, shape):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        export.export_savedmodel(None, tmp_path, SHAPE)
    assert names(tmp_path) == []


def test_next_version_follows_the_largest_and_minds_nothing_else(tmp_path, monkeypatch):
    for name in ("9", "10", ".unfinished-0", "notes"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(export, "_write", lambda encoder, path, shape: path.mkdir())
    monkeypatch.setattr(export, "_check", lambda encoder, path, shape: None)
    assert export.export_savedmodel(None, tmp_path, SHAPE) == tmp_path / "11"
    assert names(tmp_path) == [".unfinished-0", "10", "11", "9", "notes"]
