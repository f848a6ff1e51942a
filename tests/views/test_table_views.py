"""Named pairs of views of tables."""

import numpy as np
import pytest

from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.settings import Settings
from vicreg_keras.settings.recipe import TABLE_VIEWS as NAMES
from vicreg_keras.views.named_views import (
    TABLE_VIEWS,
    make_table_views,
    pair_options,
)

COLUMNS = (
    Column("height"),
    Column("color", ("blue", "red", "green")),
    Column("weight"),
    Column("width"),
)
EXAMPLES = np.random.default_rng(0).normal(170, 10, (64, 4)).astype(np.float32)
EXAMPLES[:, 1] = np.arange(64) % 3

# The argument of each option, by the layers in their order.
ARGUMENTS = (
    {"maximum": "mixup", "categorical": "categorical"},
    {"min_length": "min_crop", "num_channels": "num_channels"},
    {"stddev": "scaling_std", "num_channels": "num_channels"},
    {"stddev": "noise_std", "units": "units"},
    {"probability": "corruption_probability", "marginals": "marginals"},
    {"probability": "masking_probability"},
)


@pytest.mark.parametrize("name", TABLE_VIEWS)
def test_named_pairs_have_their_options(name):
    columns = COLUMNS if name == "table" else [Column(f"t{k}") for k in range(4)]
    options = {"masking_probability": 0.25, "noise_std": None}
    view, second = make_table_views(name, EXAMPLES, columns, **options)
    assert view is second
    values = {
        option: getattr(layer, argument)
        for layer, arguments in zip(view.layers, ARGUMENTS, strict=True)
        for argument, option in arguments.items()
    }
    std = table_statistics(EXAMPLES, columns).std
    is_category = [column.categories is not None for column in columns]
    np.testing.assert_array_equal(values.pop("units"), np.where(is_category, 0, std))
    np.testing.assert_array_equal(values.pop("categorical"), is_category)
    marginals = values.pop("marginals")
    if name == "table":
        np.testing.assert_array_equal(marginals, EXAMPLES)
    else:
        assert marginals is None
    assert values == {**TABLE_VIEWS[name][0], "masking_probability": 0.25}
    assert pair_options(name, **options) == values
    assert view(EXAMPLES, seed=(0, 1)).shape == EXAMPLES.shape


def test_settings_know_every_pair_and_option():
    assert set(TABLE_VIEWS) == set(NAMES)
    values = Settings(**pair_options("series")).group("table views")
    assert values == pair_options("series")


@pytest.mark.slow
def test_marginals_are_the_training_examples_or_some_of_them():
    # An example is recognized by any of its entries.
    examples = np.arange(5000, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    columns = [Column("a"), Column("b")]
    options = {"corruption_probability": 1, "noise_std": 0}
    drawn = {}
    for seed in (0, 0, 1):
        view, _ = make_table_views("table", examples, columns, seed=seed, **options)
        corrupted = view(np.full((40_000, 2), -1, np.float32), seed=(0, 1)).numpy()
        values = frozenset(corrupted.ravel().tolist())
        assert values <= set(range(5000)) and 4000 < len(values) <= 4096
        assert drawn.setdefault(seed, values) == values
    assert drawn[0] != drawn[1]
    view, _ = make_table_views("table", examples[:10], columns, **options)
    corrupted = view(np.full((1000, 2), -1, np.float32), seed=(0, 1)).numpy()
    assert set(corrupted.ravel()) == set(range(10))


@pytest.mark.parametrize(
    "arguments,options,message",
    [
        (("cifar", EXAMPLES, COLUMNS), {}, "one of table, series. Received: name=cif"),
        (("table", EXAMPLES, COLUMNS), {"units": 1}, "options among mixup, .*units=1"),
        (("table", EXAMPLES, COLUMNS), {"mixup": 2}, r"in \[0, 1\].*maximum=2"),
        (("series", EXAMPLES, COLUMNS), {}, "Expected columns of numbers for series"),
        (("table", EXAMPLES, COLUMNS), {"min_crop": 0.5}, "columns of numbers"),
        (("table", EXAMPLES, COLUMNS[:2]), {}, r"\(N, 2\), N above 0. .*\(64, 4\)"),
        (("table", EXAMPLES[:0], COLUMNS), {}, r"examples.shape=\(0, 4\)"),
        (("series", EXAMPLES[:, :1], COLUMNS[:1]), {}, "divide 1 columns into two"),
    ],
)
def test_impossible_options_and_examples_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        make_table_views(*arguments, **options)
