"""Views of rows: what is drawn, from which seed, and what is saved of it."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.model import VICReg
from vicreg_keras.views.table_views import TABLE_VIEWS, TableView, make_table_views

NAN = np.nan
COLUMNS = (
    Column("height"),
    Column("color", ("blue", "red", "green")),
    Column("weight"),
    Column("gaps"),
)
CATEGORICAL = [False, True, False, False]
EVERYTHING = {
    "corruption_probability": 0.2,
    "noise_std": 0.1,
    "masking_probability": 0.1,
    "mixup": 0.3,
}
SERIES = {"noise_std": 0.1, "scaling_std": 0.2, "min_crop": 0.5, "num_channels": 2}


def table(num_rows, seed=0):
    """Heights about 170, three colors, weights of few grams, a column with gaps."""
    random = np.random.default_rng(seed)
    rows = np.stack(
        [
            random.normal(170, 10, num_rows),
            random.integers(0, 3, num_rows),
            random.normal(0, 1e-3, num_rows),
            np.where(random.random(num_rows) < 0.25, NAN, random.normal(size=num_rows)),
        ],
        axis=1,
    )
    return rows.astype(np.float32)


ROWS = table(64)


def view_of_everything():
    std = table_statistics(ROWS, COLUMNS).std
    return TableView(ROWS, std, CATEGORICAL, **EVERYTHING)


@pytest.fixture(scope="module")
def view():
    """One for all tests that change nothing, for compiling it takes a second."""
    return view_of_everything()


def assert_share(happened, probability):
    """Five standard errors of a binomial."""
    error = math.sqrt(probability * (1 - probability) / happened.size)
    assert abs(happened.mean() - probability) <= 5 * error


# Each transformation alone.


def test_what_is_0_is_left_out():
    np.testing.assert_array_equal(TableView()(ROWS, seed=(0, 1)), ROWS)


@pytest.mark.parametrize("probability", [0.05, 0.3, 1.0])
def test_corrupted_entries_are_their_columns_own(probability):
    # No value is in two columns, and none of the marginals' is in a row.
    marginals = np.arange(40, dtype=np.float32).reshape(10, 4)
    rows = np.full((3000, 4), -1, np.float32)
    view = TableView(marginals, corruption_probability=probability)(
        rows, seed=(0, 1)
    ).numpy()
    for column in range(4):
        values = view[:, column]
        replaced = values[values != -1]
        assert set(replaced) == set(marginals[:, column])
        assert_share(values != -1, probability)
        # Each of the ten as often as the others.
        for value in marginals[:, column]:
            assert_share(replaced == value, 0.1)
    # Entries of a row are chosen and replaced each on its own.
    together = np.corrcoef(view.T // 4) - np.eye(4)
    assert np.abs(together).max() < 5 / math.sqrt(len(rows))


def test_corruption_brings_gaps_and_codes_along():
    marginals = np.array([[NAN, 0], [1, 2], [NAN, 2], [NAN, 2]], np.float32)
    rows = np.zeros((4000, 2), np.float32)
    view = TableView(marginals, categorical=[False, True], corruption_probability=1.0)
    numbers, codes = view(rows, seed=(0, 1)).numpy().T
    assert set(numbers[~np.isnan(numbers)]) == {1} and set(codes) == {0, 2}
    assert_share(np.isnan(numbers), 0.75)
    assert_share(codes == 2, 0.75)


def test_noise_is_in_each_columns_own_spread_and_leaves_categories_and_gaps():
    rows = table(4000)
    std = np.array([10, 1, 1e-3, 1], np.float32)
    view = TableView(std=std, categorical=CATEGORICAL, noise_std=0.5)(rows, seed=(0, 1))
    change = view.numpy() - rows
    np.testing.assert_array_equal(view[:, 1], rows[:, 1])
    np.testing.assert_array_equal(np.isnan(change), np.isnan(rows))
    for column in (0, 2, 3):
        there = change[~np.isnan(change[:, column]), column] / std[column]
        # Five standard errors: of a standard deviation, and of a mean.
        assert abs(there.std() - 0.5) < 5 * 0.5 / math.sqrt(2 * len(there))
        assert abs(there.mean()) < 5 * 0.5 / math.sqrt(len(there))


def test_masked_entries_are_missing_and_the_others_as_they_were():
    rows = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    view = TableView(masking_probability=0.3)(rows, seed=(0, 1)).numpy()
    hidden = np.isnan(view)
    np.testing.assert_array_equal(view[~hidden], rows[~hidden])
    for column in range(3):
        assert_share(hidden[:, column], 0.3)


def test_mixed_shares_are_uniform_and_categories_follow_them():
    # Half of the rows are (0, 0), half (1, 1): what a mixed row is tells its share.
    rows = np.repeat(np.array([[0, 0], [1, 1]], np.float32), 4000, axis=0)
    view = TableView(categorical=[False, True], mixup=0.6)(rows, seed=(0, 1)).numpy()
    shares = np.abs(view - rows)
    mixed = shares[shares[:, 0] > 0]
    assert_share(shares[:, 0] > 0, 0.5)
    assert mixed[:, 0].max() < 0.6
    for low in (0.0, 0.2, 0.4):
        inside = (mixed[:, 0] >= low) & (mixed[:, 0] < low + 0.2)
        assert_share(inside, 1 / 3)
        changed = mixed[inside, 1]
        assert set(changed) == {0, 1}
        assert_share(changed, low + 0.1)


def test_scaling_is_a_factor_of_each_row_and_channel():
    series = np.random.default_rng(0).normal(size=(3000, 4, 2)).astype(np.float32)
    view = TableView(scaling_std=0.2, num_channels=2)
    scaled = view(series.reshape(-1, 8), seed=(0, 1)).numpy().reshape(-1, 4, 2)
    means = series.mean(axis=1, keepdims=True)
    factors = np.linalg.norm(scaled - means, axis=1) / np.linalg.norm(
        series - means, axis=1
    )
    np.testing.assert_allclose(
        scaled, means + factors[:, None] * (series - means), rtol=1e-4, atol=1e-5
    )
    assert np.all(np.abs(factors.mean(axis=0) - 1) < 5 * 0.2 / math.sqrt(3000))
    assert np.all(np.abs(factors.std(axis=0) - 0.2) < 5 * 0.2 / math.sqrt(6000))
    assert abs(np.corrcoef(factors.T)[0, 1]) < 5 / math.sqrt(3000)


def test_cropped_ramps_are_ramps_of_every_allowed_length():
    steps = np.arange(21, dtype=np.float32)
    view = TableView(min_crop=0.5, num_channels=1)(
        np.tile(steps, (2000, 1)), seed=(0, 1)
    ).numpy()
    lengths = np.ptp(view, axis=1) / 20
    assert np.all(np.diff(view) > 0)
    assert view.min() >= 0 and view.max() <= 20
    assert 0.5 <= lengths.min() + 1e-6 and lengths.max() <= 1
    assert_share(lengths < 0.75, 0.5)
    # Windows start anywhere that they fit.
    starts = view[:, 0] / (20 * (1 - lengths))
    assert_share(starts < 0.5, 0.5)


def test_categories_stay_codes_through_everything(view):
    codes = view(ROWS, seed=(0, 1)).numpy()[:, 1]
    there = ~np.isnan(codes)
    assert set(codes[there]) == {0, 1, 2}
    assert np.any(codes[there] != ROWS[there, 1])


# Seeds.


def test_same_seed_same_view_wherever_it_is_called(view):
    alone = view(ROWS, seed=(3, 4)).numpy()
    np.testing.assert_array_equal(alone, view(ROWS, seed=np.array([3, 4])))
    for compiled in (False, True):
        step = tf.function(
            lambda rows, seed: view(rows, seed=seed), jit_compile=compiled
        )
        np.testing.assert_array_equal(
            alone, step(tf.constant(ROWS), tf.constant([3, 4]))
        )
    # A dataset, whose batches are of unknown size.
    batches = tf.data.Dataset.from_tensor_slices(ROWS).batch(64)
    (mapped,) = batches.map(lambda rows: view(rows, seed=(3, 4))).as_numpy_iterator()
    np.testing.assert_array_equal(alone, mapped)


def test_batches_of_any_size_are_one_program(view):
    step = tf.function(
        lambda rows: view(rows, seed=(0, 1)),
        input_signature=[tf.TensorSpec((None, 4))],
    )
    assert step(ROWS[:1]).shape == (1, 4)
    np.testing.assert_array_equal(step(ROWS), view(ROWS, seed=(0, 1)))


def test_rows_and_steps_have_their_own_draws():
    rows = np.tile(np.arange(8, dtype=np.float32), (100, 1))
    for settings in ({"masking_probability": 0.5}, {**SERIES, "std": np.ones(8)}):
        view = TableView(**settings)
        first, second = view(rows, seed=(0, 1)), view(rows, seed=(0, 2))
        assert len(np.unique(first, axis=0)) > 70  # of 2 ** 8 masks
        assert np.mean(first.numpy() == second.numpy()) < 0.5


def test_without_a_seed_the_global_one_decides(view):
    views = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        views.append(view(ROWS).numpy())
    np.testing.assert_array_equal(*views)
    assert np.any(view(ROWS).numpy() != views[0])


def test_leaving_a_step_out_changes_no_other():
    with_noise = TableView(std=np.ones(4), masking_probability=0.4, noise_std=1.0)
    both, masked = (
        with_noise(ROWS, seed=(0, 1)),
        TableView(masking_probability=0.4)(ROWS, seed=(0, 1)),
    )
    np.testing.assert_array_equal(np.isnan(both), np.isnan(masked))


def test_outside_training_rows_come_back_as_they_are(view):
    raw = view(ROWS.astype(np.float64), training=False)
    np.testing.assert_array_equal(raw, ROWS)
    assert raw.dtype == tf.float32
    np.testing.assert_array_equal(view.without_randomness(ROWS), ROWS)


def test_views_are_float32_whatever_the_policy(view):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        other = view_of_everything()
    finally:
        keras.config.set_dtype_policy("float32")
    result = other(ROWS, seed=(0, 1))
    assert result.dtype == tf.float32 and other.variables == []
    np.testing.assert_array_equal(result, view(ROWS, seed=(0, 1)))
    assert view(keras.Input((4,))).shape == (None, 4)


# Configs.


def test_a_config_is_json_and_builds_the_same_view(view):
    config = view.get_config()
    again = TableView.from_config(json.loads(json.dumps(config, allow_nan=False)))
    assert again.get_config() == config
    np.testing.assert_array_equal(again(ROWS, seed=(0, 1)), view(ROWS, seed=(0, 1)))
    series = TableView(std=np.full(8, 0.1), **SERIES)
    assert (
        TableView.from_config(series.get_config()).get_config() == series.get_config()
    )
    assert series.get_config()["marginals"] is None


class Present(keras.layers.Layer):
    """What is missing becomes 0."""

    def call(self, rows):
        return tf.where(tf.math.is_nan(rows), 0.0, rows)


def small_model(augmenter, **options):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.Input((4,)), Present(), keras.layers.Dense(8, activation="relu")]
    )
    model = VICReg(encoder, None, augmenter, **options)
    model.compile(keras.optimizers.SGD(1e-4))
    return model


def test_a_model_learns_from_rows_and_is_saved_with_its_views(view, tmp_path):
    model = small_model(view)
    before = [w.copy() for w in model.get_weights()]
    batches = tf.data.Dataset.from_tensors(ROWS).repeat()
    history = model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0]) and history["invariance_loss"][0] > 0
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(model.step) == 2

    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, custom_objects={"Present": Present})
    for again in loaded.augmenter:
        assert again.get_config() == view.get_config()
    view_a, view_b = model.views(ROWS, (0, 9))
    again_a, again_b = loaded.views(ROWS, (0, 9))
    np.testing.assert_array_equal(view_a, again_a)
    np.testing.assert_array_equal(view_b, again_b)
    assert np.any(view_a.numpy() != view_b.numpy())


def test_rows_have_more_views_than_two(view):
    model = small_model(view, num_views=3)
    several = model.views(ROWS, (0, 9))
    two = small_model(view).views(ROWS, (0, 9))
    np.testing.assert_array_equal(several[:2], two)
    assert not any(np.array_equal(several[2], one, equal_nan=True) for one in two)
    history = model.fit(ROWS, batch_size=64, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0]) and history["invariance_loss"][0] > 0


def test_a_step_compiled_by_xla_takes_the_same_views():
    view, found = TableView(masking_probability=0.3), []
    for compiled, seed in ((False, 0), (True, 0), (True, 1)):
        model = small_model(view, seed=seed)
        model.compile(keras.optimizers.SGD(1e-4), jit_compile=compiled)
        history = model.fit(ROWS, batch_size=64, shuffle=False, verbose=0).history
        found.append(history["invariance_loss"][0])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] != pytest.approx(found[2], rel=1e-2)


# Named pairs.


@pytest.mark.parametrize("name", TABLE_VIEWS)
def test_named_pairs_are_built_and_overridden(name):
    columns = COLUMNS if name == "table" else [Column(f"t{k}") for k in range(4)]
    pair = make_table_views(
        name, ROWS, columns, masking_probability=0.25, noise_std=None
    )
    statistics = table_statistics(ROWS, columns)
    for view in pair:
        config = view.get_config()
        assert config["masking_probability"] == 0.25
        for key, value in TABLE_VIEWS[name].items():
            assert config[key] == value
        np.testing.assert_array_equal(np.float32(config["std"]), statistics.std)
        assert config["categorical"] == (
            CATEGORICAL if name == "table" else [False] * 4
        )
        assert view(ROWS, seed=(0, 1)).shape == ROWS.shape


def test_marginals_are_the_training_rows_or_some_of_them():
    # A row is told by any of its entries.
    rows = np.arange(5000, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    columns = [Column("a"), Column("b")]
    seen = {}
    for seed in (0, 0, 1):
        view, _ = make_table_views(
            "table", rows, columns, seed=seed, corruption_probability=1, noise_std=0
        )
        taken = view(np.full((40_000, 2), -1, np.float32), seed=(0, 1)).numpy()
        values = frozenset(taken.ravel().tolist())
        assert values <= set(range(5000)) and 4000 < len(values) <= 4096
        assert seen.setdefault(seed, values) == values
    assert seen[0] != seen[1]
    view, _ = make_table_views(
        "rows", rows[:10], columns, corruption_probability=1, noise_std=0
    )
    taken = view(np.full((1000, 2), -1, np.float32), seed=(0, 1)).numpy()
    assert set(taken.ravel()) == set(range(10))


# What is refused.


@pytest.mark.parametrize(
    "settings,message",
    [
        (
            {"masking_probability": 1.5},
            r"to be a number in \[0, 1\]. .*: masking_probability=1.5. 0 ",
        ),
        ({"mixup": -0.1}, "Received: mixup=-0.1"),
        ({"corruption_probability": NAN}, "Received: corruption_probability=nan"),
        (
            {"noise_std": math.inf},
            "noise_std to be a number of at least 0. Received: noise_std=inf",
        ),
        ({"scaling_std": "0.1"}, "Received: scaling_std='0.1'"),
        (
            {"min_crop": 0, "num_channels": 1},
            r"min_crop to be a number in \(0, 1\]. .*min_crop=0. 1 ",
        ),
        ({"num_channels": 1.5}, "num_channels to be a whole number of 0 or more"),
        ({"num_channels": -1}, "Received: num_channels=-1"),
        (
            {"corruption_probability": 0.3},
            "marginals where corruption_probability is above 0",
        ),
        ({"noise_std": 0.3}, "Expected std where noise_std is above 0"),
        (
            {"min_crop": 0.5},
            "num_channels of 1 or more beside .* Received: num_channels=0",
        ),
        ({"scaling_std": 0.5}, "num_channels of 1 or more beside"),
        (
            {"num_channels": 1, "categorical": [True, False]},
            "numbers alone in the columns",
        ),
        ({"num_channels": 2, "std": [1, 1, 1]}, "num_channels that divide 3 columns"),
        ({"num_channels": 3, "std": [1, 1, 1]}, "into two steps or more"),
        ({"std": [1, 1], "categorical": [True]}, "Expected one number of columns"),
        ({"std": [1, NAN]}, "std to be finite numbers"),
        ({"std": [[1, 1]]}, "std to be finite numbers"),
        ({"categorical": [0, 1]}, "categorical to be True or False"),
        ({"marginals": np.zeros((0, 2))}, r"marginals.shape=\(0, 2\)"),
        ({"marginals": np.zeros((4097, 2))}, r"M in \[1, 4096\]. Received: .*4097"),
        ({"marginals": np.zeros(3)}, r"marginals.shape=\(3,\)"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as error:
        TableView(**settings)
    assert "\n" not in str(error.value)


def test_rows_of_another_table_are_refused(view):
    with pytest.raises(
        ValueError, match=r"rows of shape \(batch, 4\). .*shape=\(2, 3\)"
    ):
        view_of_everything()(np.zeros((2, 3), np.float32), seed=(0, 1))
    with pytest.raises(ValueError, match=r"shape \(batch, num_columns\)"):
        TableView(masking_probability=0.5)(np.zeros((2, 3, 3), np.float32), seed=(0, 1))
    with pytest.raises(ValueError, match="num_channels that divide 3 columns"):
        TableView(scaling_std=0.5, num_channels=2)(
            np.zeros((2, 3), np.float32), seed=(0, 1)
        )


def test_what_does_not_exist_is_refused():
    for arguments, settings, message in (
        (("cifar", ROWS, COLUMNS), {}, "one of table, series. Received: name='cifar'"),
        (
            ("table", ROWS, COLUMNS),
            {"std": 1},
            "settings among corruption_probability, .*std=1",
        ),
        (("table", ROWS, COLUMNS), {"mixup": 2}, r"number in \[0, 1\].*mixup=2"),
        (("table", ROWS, COLUMNS), {"num_channels": 3}, "numbers alone in the columns"),
        (("table", ROWS, COLUMNS[:2]), {}, r"shape \(N, 2\), N above 0. .*\(64, 4\)"),
        (("table", ROWS[:0], COLUMNS), {}, r"Received: rows.shape=\(0, 4\)"),
        (("series", ROWS[:, :1], COLUMNS[:1]), {}, "divide 1 columns into two steps"),
    ):
        with pytest.raises(ValueError, match=message):
            make_table_views(*arguments, **settings)
