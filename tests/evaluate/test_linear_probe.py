"""Tests of the linear probes on points whose answer is visible."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data import Split
from vicreg_keras.evaluate import linear_probe
from vicreg_keras.evaluate.linear_probe import (
    augmented_probe,
    cached_probe,
    crop_and_flip,
    draw_balanced,
    few_label_probe,
    fit_logistic,
    moments,
    top_k_accuracy,
)
from vicreg_keras.features import Features, extract_features
from vicreg_keras.sources import ArrayExamples


def blobs(per_class, num_classes=6, width=4, spread=0.1, seed=0):
    """Clusters about fixed centres, the same whatever the seed."""
    centres = np.random.default_rng(99).normal(size=(num_classes, width)) * 3
    labels = np.tile(np.arange(num_classes), per_class)
    noise = np.random.default_rng(seed).normal(size=(len(labels), width))
    rows = (centres[labels] + spread * noise).astype(np.float32)
    return Features(rows, labels.astype(np.int64))


def splits(**kwargs):
    sizes = {"train": 20, "validation": 5, "test": 10}
    return [
        blobs(size, seed=seed, **kwargs)
        for seed, size in enumerate(sizes.values(), start=1)
    ]


def test_top_k_counts_labels_among_the_best():
    scores = [[3, 2, 1], [1, 3, 2], [1, 2, 3]]
    assert top_k_accuracy(scores, [0, 0, 0], 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(scores, [1, 2, 0], 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, [2, 0, 0], 3) == 1.0
    assert top_k_accuracy(scores, [2, 0, 0], 5) == 1.0


def test_top_k_shares_ties():
    scores = [[5.0, 1.0, 1.0, 1.0]]
    assert top_k_accuracy(scores, [0], 1) == 1.0
    assert top_k_accuracy(scores, [3], 1) == 0.0
    for label in (1, 2, 3):  # The order of classes is no help.
        assert top_k_accuracy(scores, [label], 2) == pytest.approx(1 / 3)
    assert top_k_accuracy(np.zeros((4, 10)), [0, 3, 6, 9], 1) == pytest.approx(0.1)
    assert top_k_accuracy(np.zeros((4, 10)), [0, 3, 6, 9], 5) == pytest.approx(0.5)


def test_top_k_never_counts_an_unseen_class():
    assert top_k_accuracy([[1.0, -np.inf]], [1], 5) == 0.0


def test_top_k_refuses_bad_input():
    with pytest.raises(ValueError, match="NaN"):
        top_k_accuracy([[np.nan, 0]], [0], 1)
    with pytest.raises(ValueError, match="k=0"):
        top_k_accuracy([[0.0, 0]], [0], 0)
    with pytest.raises(ValueError, match=r"labels in \[0, 2\)"):
        top_k_accuracy([[0.0, 0]], [2], 1)
    with pytest.raises(ValueError, match="scores.shape"):
        top_k_accuracy([[0.0, 0]], [0, 1], 1)


def test_moments_leave_constant_columns_at_zero():
    rows = np.array([[1, 5, 0.1], [3, 5, 0.1]], np.float32)
    mean, scale = moments(rows)
    np.testing.assert_allclose(mean, [2, 5, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(scale, [1, 1, 1])
    many = np.random.default_rng(0).normal(3, 2, (9000, 2)).astype(np.float32)
    mean, scale = moments(many)
    np.testing.assert_allclose(mean, many.mean(0, np.float64), rtol=1e-5)
    np.testing.assert_allclose(scale, many.std(0, dtype=np.float64), rtol=1e-5)


def test_separable_blobs_are_told_apart():
    result = cached_probe(*splits(), seed=3)
    assert result["top1"] == result["top5"] == result["validation_top1"] == 1.0
    assert result["converged"]
    assert (result["num_train"], result["num_test"], result["seed"]) == (120, 60, 3)
    assert result["protocol"] == "cached"
    json.dumps(result)


def test_few_classes_have_no_top5_and_two_classes_work():
    for num_classes in (2, 5):
        result = cached_probe(*splits(num_classes=num_classes))
        assert result["top1"] == 1.0
        assert result["top5"] is None


def test_regularisation_path_is_strong_to_weak_with_patience():
    result = cached_probe(*splits(), regularisations=(10, 1, 0.1, 0.01))
    # Already perfect with the strongest: two more are tried, equals keep the first.
    assert [tried["C"] for tried in result["path"]] == [0.01, 0.1, 1.0]
    assert result["C"] == 0.01


def test_large_arrays_stop_at_the_first_that_does_no_better(monkeypatch):
    monkeypatch.setattr(linear_probe, "_LARGE_ENTRIES", 100)
    result = cached_probe(*splits(), regularisations=(10, 1, 0.1, 0.01))
    assert [tried["C"] for tried in result["path"]] == [0.01, 0.1]
    assert result["patience"] == 1


def test_choice_does_not_see_test_labels():
    train, validation, test = splits(spread=3.0)
    result = cached_probe(train, validation, test)
    shuffled = Features(test.representations, np.roll(test.labels, 1))
    other = cached_probe(train, validation, shuffled)
    assert other["path"] == result["path"]
    assert other["C"] == result["C"]
    assert other["top1"] != result["top1"]


def test_choice_follows_validation_labels():
    train, validation, test = splits(spread=3.0)
    validation = Features(validation.representations, np.roll(validation.labels, 1))
    path = cached_probe(train, validation, test)["path"]
    other = cached_probe(train, splits(spread=3.0)[1], test)["path"]
    assert [t["train_top1"] for t in path][:3] == [t["train_top1"] for t in other][:3]
    assert path[0]["validation_top1"] != other[0]["validation_top1"]


def test_final_fit_uses_the_validation_examples():
    train, validation, test = splits()
    # Class 5 has no training example: only the refit can know it.
    known = train.labels < 5
    train = Features(train.representations[known], train.labels[known])
    result = cached_probe(train, validation, test, regularisations=(10.0,))
    assert result["validation_top1"] == pytest.approx(5 / 6)
    assert result["top1"] == 1.0


def test_scale_of_the_representations_does_not_matter():
    results = []
    for factor in (1.0, 1e-3, 255.0):
        scaled = [Features(f.representations * factor, f.labels) for f in splits()]
        results.append(cached_probe(*scaled)["path"][0]["validation_top1"])
    assert len(set(results)) == 1


def test_inputs_are_left_as_they_were():
    given = splits()
    before = [features.representations.copy() for features in given]
    cached_probe(*given)
    few_label_probe(given[0], given[2], labels_per_class=3, num_draws=1)
    for features, rows in zip(given, before, strict=True):
        np.testing.assert_array_equal(features.representations, rows)


def test_logistic_regression_reaches_the_known_optimum():
    # Two points at -1 and 1: the optimum solves w = C * 2 * sigmoid(-w) for the
    # difference of logits w. A softmax applied twice would stop elsewhere.
    rows = np.array([[-1.0], [1.0]] * 50, np.float32)
    labels = np.array([0, 1] * 50)
    fit = fit_logistic(rows, labels, C=0.02)
    weight = float(fit.weights[0, 1] - fit.weights[0, 0])
    assert weight == pytest.approx(0.02 * 100 / (1 + np.exp(weight)), rel=1e-2)
    logits = fit.scores(rows[:2], 2)
    np.testing.assert_allclose(logits[1, 1] - logits[1, 0], weight, rtol=1e-5)


def test_no_convergence_is_noted_not_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = cached_probe(*splits(spread=3.0), max_iterations=1)
    assert not result["converged"]
    assert not result["path"][0]["converged"]


def test_bad_features_are_refused():
    train, validation, test = splits()
    one = Features(train.representations, np.zeros_like(train.labels))
    with pytest.raises(ValueError, match="at least two classes.*only label 0"):
        cached_probe(one, validation, test)
    with pytest.raises(ValueError, match="labels for test"):
        cached_probe(train, validation, Features(test.representations, None))
    broken = test.representations.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="finite test.* 1 of 60 rows"):
        cached_probe(train, validation, Features(broken, test.labels))
    with pytest.raises(ValueError, match=r"labels in \[0, 3\)"):
        cached_probe(train, validation, test, num_classes=3)
    with pytest.raises(ValueError, match="regularisations"):
        cached_probe(train, validation, test, regularisations=(0.0,))
    narrow = Features(test.representations[:, :2], test.labels)
    with pytest.raises(ValueError, match="4 wide"):
        cached_probe(train, validation, narrow)


def test_draws_are_balanced_and_a_function_of_the_seed():
    labels = np.array([0] * 50 + [1] * 9 + [2] * 30)
    picks = draw_balanced(labels, 9, seed=1)
    assert len(set(picks)) == 27
    np.testing.assert_array_equal(np.bincount(labels[picks]), [9, 9, 9])
    np.testing.assert_array_equal(picks, draw_balanced(labels, 9, seed=1))
    assert set(picks) != set(draw_balanced(labels, 9, seed=2))
    with pytest.raises(ValueError, match="Received: 9 with label 1"):
        draw_balanced(labels, 10, seed=1)


@pytest.mark.parametrize("labels_per_class", [1, 2, 5])
def test_few_labels_give_mean_and_deviation(labels_per_class):
    train, _, test = splits(spread=1.5)
    result = few_label_probe(
        train, test, labels_per_class=labels_per_class, num_draws=3, seed=7
    )
    values = [draw["top1"] for draw in result["draws"]]
    assert [draw["seed"] for draw in result["draws"]] == [7, 8, 9]
    assert result["top1"] == pytest.approx(np.mean(values))
    assert result["top1_std"] == pytest.approx(np.std(values, ddof=1))
    assert result["num_train"] == 6 * labels_per_class
    fixed = labels_per_class == 1
    assert result["C_chosen_by"] == ("fixed" if fixed else "cross-validation")
    json.dumps(result)


def test_few_labels_use_no_other_label():
    train, _, test = splits(spread=1.5)
    result = few_label_probe(train, test, labels_per_class=4, num_draws=1)
    picks = draw_balanced(train.labels, 4, seed=0)
    # Wrong labels elsewhere change nothing as long as the draw is the same.
    only = Features(train.representations, train.labels.copy())
    rest = np.setdiff1d(np.arange(len(train.labels)), picks)
    swapped = only.representations.copy()
    swapped[rest] = swapped[rest[::-1]]  # Same columns' figures, other labels.
    other = few_label_probe(
        Features(swapped, only.labels), test, labels_per_class=4, num_draws=1
    )
    assert other["draws"] == result["draws"]


def test_rotation_to_the_rows_own_space_changes_nothing():
    random = np.random.default_rng(0)
    rows = random.normal(size=(12, 40)).astype(np.float32)
    queries = random.normal(size=(9, 40)).astype(np.float32)
    labels = np.arange(12) % 3
    basis = np.linalg.qr(rows.T)[0]
    whole = fit_logistic(rows, labels, 1.0).scores(queries, 3)
    rotated = fit_logistic(rows @ basis, labels, 1.0).scores(queries @ basis, 3)
    np.testing.assert_allclose(whole, rotated, atol=2e-2)


# Images whose class is their colour, and an encoder with every state there is.
def colour_split(num_examples, seed, num_classes=6):
    random = np.random.default_rng(seed)
    labels = np.arange(num_examples) % num_classes
    colours = np.array(
        [[200, 30, 30], [30, 200, 30], [30, 30, 200], [9, 9, 9], [240, 240, 240]]
        + [[120, 20, 200]]
    )
    images = colours[labels][:, None, None] + random.integers(
        -9, 10, (num_examples, 8, 8, 3)
    )
    names = [str(index) for index in range(num_examples)]
    return Split(ArrayExamples(np.clip(images, 0, 255).astype(np.uint8)), labels, names)


@pytest.fixture(scope="module")
def colours():
    return [colour_split(size, seed) for seed, size in enumerate((100, 31, 37))]


def flip(images, seed):
    """A cheap view: the default one takes seconds to compile."""
    images = tf.cast(images, tf.float32)
    return tf.image.stateless_random_flip_left_right(images, seed)


def make_encoder():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.5),
        ]
    )


def test_augmented_probe_learns_and_leaves_the_encoder_alone(colours):
    encoder = make_encoder()
    before = [variable.numpy().copy() for variable in encoder.variables]
    result = augmented_probe(
        encoder, *colours, 6, epochs=15, batch_size=32, verbose=0, seed=1
    )
    assert result["view"]["config"]["crop_scale"] == [0.08, 1.0]
    assert result["top1"] >= 0.95
    assert result["top5"] >= result["top1"]
    assert result["num_test"] == 37
    assert result["learning_rate"] in result["learning_rates"]
    best = max(tried["validation_top1"] for tried in result["path"])
    assert result["validation_top1"] == best
    for old, variable in zip(before, encoder.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    json.dumps(result)


def test_augmented_probe_is_a_function_of_its_seed(colours):
    encoder = make_encoder()
    held_out = [extract_features(encoder, split) for split in colours[1:]]
    settings = {"epochs": 1, "batch_size": 32, "view": flip, "verbose": 0}
    first, again, other = (
        augmented_probe(encoder, colours[0], *held_out, 6, seed=seed, **settings)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first["path"] != other["path"]


def test_every_head_learns_as_if_alone(colours):
    encoder = make_encoder()
    features = [extract_features(encoder, split) for split in colours[1:]]
    settings = {"epochs": 2, "batch_size": 32, "view": flip, "verbose": 0}
    both, first, second = (
        augmented_probe(
            encoder, colours[0], *features, 6, learning_rates=rates, **settings
        )["path"]
        for rates in ((0.1, 3.0), (0.1,), (3.0,))
    )
    for together, alone in zip(both, first + second, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)


def test_augmented_probe_is_the_authors_sgd():
    # A representation that is always 1 and a view that changes nothing: what is left
    # is SGD on biases, followed here by hand in float64.
    labels = np.array([0, 0, 0, 1])
    images = np.zeros((4, 4, 4, 3), np.uint8)
    split = Split(ArrayExamples(images), labels, list("abcd"))
    epochs, rate, decay = 4, 0.5, 0.1
    result = augmented_probe(
        lambda images, training: tf.ones((tf.shape(images)[0], 1)),
        split,
        split,
        split,
        2,
        epochs=epochs,
        batch_size=4,
        learning_rates=(rate,),
        weight_decay=decay,
        view=lambda images, seed: tf.cast(images, tf.float32),
        verbose=0,
    )
    weights = np.float64(tf.random.stateless_normal((1, 1, 2), (0, 0), stddev=0.01))
    parameters = np.stack([weights.ravel(), np.zeros(2)])  # Weights and biases.
    velocity = np.zeros((2, 2))
    for epoch in range(epochs):
        logits = parameters.sum(axis=0)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        loss = -(3 * np.log(probabilities[0]) + np.log(probabilities[1])) / 4
        gradient = probabilities - [0.75, 0.25] + decay * parameters
        velocity = 0.9 * velocity + gradient
        cosine = 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        parameters = parameters - rate * cosine * velocity
    assert result["path"][0]["loss"] == pytest.approx(loss, rel=1e-5)
    assert result["top1"] == 0.75


def test_head_choice_does_not_see_test_labels(colours):
    encoder = make_encoder()
    train, validation, test = colours
    held_out = extract_features(encoder, validation)
    tested = extract_features(encoder, test)
    shuffled = Features(tested.representations, np.roll(tested.labels, 1))
    settings = {"epochs": 3, "batch_size": 32, "view": flip, "verbose": 0}
    first = augmented_probe(encoder, train, held_out, tested, 6, **settings)
    second = augmented_probe(encoder, train, held_out, shuffled, 6, **settings)
    assert first["path"] == second["path"]
    assert first["learning_rate"] == second["learning_rate"]
    assert first["top1"] != second["top1"]


def test_encoder_sees_views_in_inference_mode():
    seen = []

    def encoder(images, training):
        seen.append((images.dtype, training))
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2)) / 255

    split = colour_split(12, 0)
    augmented_probe(encoder, split, split, split, 6, epochs=1, batch_size=5, verbose=0)
    assert {training for _, training in seen} == {False}
    assert {dtype for dtype, _ in seen} == {tf.uint8, tf.float32}


def test_default_view_crops_and_flips_and_leaves_colours():
    config = crop_and_flip().get_config()
    assert tuple(config["crop_scale"]) == (0.08, 1.0)
    assert config["flip"] == 0.5
    for name in ("jitter", "grey", "blur", "solarize"):
        assert config[name] == 0.0


def test_diverged_heads_are_passed_over(colours):
    encoder = make_encoder()
    settings = {"epochs": 2, "batch_size": 32, "view": flip, "verbose": 0}
    result = augmented_probe(
        encoder, *colours, 6, learning_rates=(1e38, 0.3), **settings
    )
    assert result["learning_rate"] == pytest.approx(0.3)
    assert result["path"][0]["validation_top1"] is None
    json.dumps(result, allow_nan=False)
    with pytest.raises(ValueError, match="all of which diverged"):
        augmented_probe(encoder, *colours, 6, learning_rates=(1e38,), **settings)


def test_augmented_settings_are_checked(colours):
    for settings in ({"epochs": 0}, {"batch_size": 0}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            augmented_probe(make_encoder(), *colours, 6, **settings)
    with pytest.raises(ValueError, match="learning_rates"):
        augmented_probe(make_encoder(), *colours, 6, learning_rates=())
    train = Split(ArrayExamples(np.zeros((2, 8, 8, 3), np.uint8)), None, ["a", "b"])
    with pytest.raises(ValueError, match="labels for train"):
        augmented_probe(make_encoder(), train, *colours[1:], 6)
