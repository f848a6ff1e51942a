"""A run trains, continues, starts from another one, and leaves its encoder."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from vicreg_keras import losses
from vicreg_keras.data.dataset import Split, load_dataset
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.figures import run_figures
from vicreg_keras.models.saved_encoder import load_encoder, variables_of
from vicreg_keras.settings import Settings
from vicreg_keras.settings.options import option
from vicreg_keras.training.build import build_encoder, make_schema
from vicreg_keras.training.checkpoints import saved_encoder
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.training.scores import embedding_diagnosis
from vicreg_keras.workdir.run_folder import RunFolder, outdated

SETTINGS = Settings(
    encoder="tiny",
    projector="16-16",
    views="grayscale",
    # One cheap operation, so that little is compiled.
    jitter_probability=0.0,
    crop_scale=(1.0, 1.0),
    flip_probability=0.5,
    epochs=2,
    batch_size=256,
    warmup_epochs=0.5,
    score_every=2,
)


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("finished"))
    run.create()
    return run, pretrain(SETTINGS, digits, run, flags={"epochs": "2"})


def test_a_whitening_layer_is_of_the_data_trained_on(tmp_path):
    digits = load_dataset("digits", image_size=10)
    settings = dataclasses.replace(
        SETTINGS, encoder="whitened4", epochs=1, warmup_epochs=0, score_every=0
    )
    run = RunFolder(tmp_path)
    run.create()
    pretrain(settings, digits, run)
    trained, untrained = (
        saved_encoder(settings, run),
        saved_encoder(settings, run, trained=False),
    )
    for encoder in (trained, untrained):
        kernel = encoder.get_layer("whitening").kernel
        np.testing.assert_array_equal(kernel, digits.whitening_kernel)
    moved = [encoder.get_layer("stage1_1").kernel for encoder in (trained, untrained)]
    assert not np.allclose(*moved, atol=1e-4)


def test_run_folder_is_complete(finished):
    run, result = finished
    first, second = read_records(run, PretrainRecord)
    assert (first.epoch, second.epoch) == (1, 2)
    assert (first.step, second.step) == (5, 10)
    assert first.minutes < second.minutes
    for name in ("loss", "val_loss", "embedding_std", "learning_rate"):
        assert np.isfinite(second.metrics[name])
    assert "knn_top1" not in first.metrics and 0 < second.metrics["knn_top1"] <= 1
    assert (result.metrics, result.encoder) == (second.metrics, run.encoder / "1")
    assert result.stopped_by is None
    run_figures.draw_run(run)
    for name in ("loss", "collapse", "accuracy"):
        assert (run.figures / f"{name}.png").stat().st_size > 10_000
    assert any(run.tensorboard.rglob("events*"))
    environment = json.loads(run.environment.read_text())
    assert environment["seed"] == 0 and environment["precision"] == "float32"


def test_ranks_are_those_of_the_encoder_and_of_what_the_loss_sees(finished, digits):
    run, _ = finished
    first, second = (one.metrics for one in read_records(run, PretrainRecord))
    assert "rankme" not in first
    encoder = load_encoder(run.path)
    representations = extract_features(encoder, digits.train).representations
    metrics = spectrum(representations)
    for name in ("rankme", "effective_rank", "std_mean"):
        assert second[name] == pytest.approx(getattr(metrics, name), rel=1e-3)
    width = int(SETTINGS.projector.rpartition("-")[2])
    assert second["embedding_possible_rank"] == width
    assert 1 < second["embedding_effective_rank"] < width
    found = embedding_diagnosis(second)
    assert found.kind == "embedding"
    assert f"{second['embedding_effective_rank']:,.1f} of {width}" in found.text


def test_without_labels_ranks_are_watched_all_the_same(digits, tmp_path):
    def bare(split):
        arrays = split.read(range(split.num_examples))
        return Split(arrays, None, split.names)

    parts = {name: bare(getattr(digits, name)) for name in ("train", "validation")}
    dataset = dataclasses.replace(digits, class_names=None, test=None, **parts)
    settings = dataclasses.replace(SETTINGS, epochs=1, warmup_epochs=0)
    metrics = pretrain(settings, dataset, RunFolder(tmp_path)).metrics
    assert metrics["effective_rank"] > 1 and "knn_top1" not in metrics
    assert embedding_diagnosis({}) is None


def test_another_term_of_the_loss_is_weighted_logged_and_drawn(
    digits, tmp_path, monkeypatch, capsys
):
    def magnitude(*embeddings):
        return sum(keras.ops.mean(keras.ops.abs(z)) for z in embeddings)

    monkeypatch.setitem(losses.TERMS, "magnitude", magnitude)
    monkeypatch.setitem(losses.WEIGHTS, "magnitude_weight", 1.0)
    make = dataclasses.make_dataclass
    field = ("magnitude_weight", float, option(10.0, "Weight.", group="loss"))
    more = make("More", [field], bases=(Settings,), frozen=True, kw_only=True)
    options = {f.name: getattr(SETTINGS, f.name) for f in dataclasses.fields(SETTINGS)}
    figures = []
    monkeypatch.setattr(
        run_figures, "save", lambda figure, path: figures.append(figure)
    )
    run = RunFolder(tmp_path)
    pretrain(more(**{**options, "epochs": 1, "score_every": 0}), digits, run)
    run_figures.draw_run(run)
    (record,) = read_records(run, PretrainRecord)
    metrics = record.metrics
    names = ("invariance", "variance", "covariance", "magnitude")
    weighted = np.dot([25, 25, 1, 10], [metrics[f"{name}_loss"] for name in names])
    assert metrics["loss"] == pytest.approx(weighted, rel=1e-4)
    assert metrics["val_magnitude_loss"] > 0
    assert f"magnitude {metrics['magnitude_loss']:.5g}" in capsys.readouterr().err
    titles = [axis.get_title() for axis in figures[0].axes]
    assert "magnitude" in titles and len(titles) == 7


def test_learning_rate_warms_up_and_ends_near_zero(finished):
    records = read_records(finished[0], PretrainRecord)
    first, second = (record.metrics["learning_rate"] for record in records)
    assert first > second < 0.1 * SETTINGS.learning_rate


def test_saved_encoder_takes_raw_pixels_and_is_the_trained_one(finished, digits):
    run, _ = finished
    encoder = load_encoder(run.path)
    images = digits.test.read(np.arange(3))
    trained = build_encoder(SETTINGS, make_schema(SETTINGS, digits))
    untrained = trained(images, training=False).numpy()
    served = np.asarray(encoder(images, training=False))
    assert served.shape == (3, 32)
    assert np.abs(served - untrained).max() > 1e-3


def test_untrained_encoder_is_the_same_every_time(digits):
    first, second = (
        build_encoder(SETTINGS, make_schema(SETTINGS, digits)).get_weights()
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_epochs_extend_a_finished_run(finished, digits, tmp_path):
    run, _ = finished
    longer = dataclasses.replace(SETTINGS, epochs=3)
    flags = {"epochs": "3"}
    result = pretrain(longer, digits, run, flags=flags)
    assert result.encoder == run.encoder / "2"
    again = pretrain(longer, digits, run, flags=flags)  # There is nothing left to do.
    assert again.encoder == run.encoder / "2"
    # The encoder of two epochs does not stand for that of three.
    shutil.rmtree(run.encoder / "2")
    assert "is of 2 epochs, and the run has 3" in outdated(run.encoder / "1", run)
    assert pretrain(longer, digits, run, flags=flags).encoder == run.encoder / "2"
    *_, last = records = read_records(run, PretrainRecord)
    assert (len(records), last.epoch, last.step) == (3, 3, 15)
    assert again.metrics == last.metrics


def test_init_from_starts_with_earlier_weights(finished, digits, tmp_path):
    run, _ = finished
    new = RunFolder(tmp_path / "new")
    new.create()
    still = dataclasses.replace(
        SETTINGS,
        learning_rate=0.0,
        weight_decay=0.0,
        epochs=1,
        optimizer="sgd",
        init_from=str(run.path),
    )
    pretrain(still, digits, new)
    (record,) = read_records(new, PretrainRecord)
    assert record.step == 5

    # Nothing moved but batch norm's statistics: the weights are the earlier run's.
    def kernels(run):
        weights = variables_of(load_encoder(run.path))
        return [w.numpy() for w in weights if w.shape.rank == 4]

    earlier, later = kernels(run), kernels(new)
    assert len(earlier) == 2
    for a, b in zip(earlier, later, strict=True):
        np.testing.assert_array_equal(a, b)
    untrained = (
        build_encoder(SETTINGS, make_schema(SETTINGS, digits))
        .get_layer("stage1")
        .get_weights()[0]
    )
    assert np.abs(untrained - later[0]).max() > 1e-3


def test_init_from_another_architecture_is_refused(finished, digits, tmp_path):
    new = RunFolder(tmp_path / "new")
    new.create()
    earlier = str(finished[0].path)
    wider = dataclasses.replace(SETTINGS, projector="24-16", init_from=earlier)
    with pytest.raises(ValueError, match="same encoder and projector"):
        pretrain(wider, digits, new)
    with pytest.raises(ValueError, match="earlier run with a checkpoint"):
        none = dataclasses.replace(SETTINGS, init_from=str(tmp_path / "none"))
        pretrain(none, digits, new)


def test_a_broken_checkpoint_is_named(digits, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create()
    pretrain(dataclasses.replace(SETTINGS, epochs=1, score_every=0), digits, run)
    for path in run.checkpoints.glob("*.index"):
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=f"{run.checkpoints} as it was.*ckpt-5"):
        pretrain(SETTINGS, digits, run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projector": "2048,x"}, "projector=2048,x"),
        ({"num_views": 1}, r"num_views in \[2, .*num_views=1"),
        ({"batch_size": 1}, r"batch_size in \[2, .*batch_size=1"),
        ({"views": "blue"}, "blue"),
        ({"flip_probability": 2.0}, "flip"),
        ({"weight_decay": -1.0}, "weight_decay=-1"),
        ({"momentum": 1.5}, "momentum=1.5"),
        ({"global_clipnorm": -1.0}, "global_clipnorm=-1"),
    ],
)
def test_invalid_settings(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change)


def test_batch_larger_than_the_training_split(digits, tmp_path):
    run = RunFolder(tmp_path)
    large = dataclasses.replace(SETTINGS, batch_size=5000)
    with pytest.raises(ValueError, match="1294 examples.*batch_size=5000"):
        pretrain(large, digits, run)


def test_a_single_training_example_is_refused(digits, tmp_path):
    single = dataclasses.replace(digits, train=digits.train.take([0]))
    with pytest.raises(ValueError, match="two training examples.*Add examples"):
        pretrain(SETTINGS, single, RunFolder(tmp_path))
