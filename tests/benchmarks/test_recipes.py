"""Tests of recipes on one budget, at the smallest size."""

import itertools
import json
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import recipes, recipes_run
from benchmarks.recipes_run import (
    Minutes,
    Views,
    annealed,
    evaluate,
    train,
)
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_encoder, make_schema

SETTINGS = Settings(
    encoder="tiny",
    projector="8-8",
    views="grayscale",
    # One cheap operation, so that little is compiled.
    jitter_probability=0.0,
    crop_scale=(1.0, 1.0),
    flip_probability=0.5,
    learning_rate=0.01,
    epochs=40,
    warmup_epochs=10,
    final_learning_rate_fraction=0.1,
    batch_size=50,
    num_views=3,
)
RECIPE = """--mode=pretrain
--dataset=digits
--views=grayscale
--jitter_probability=0
--crop_scale=1,1
--flip_probability=0.5
--encoder=tiny
--projector=8-8
--batch_size=50
--epochs=40
--warmup_epochs=10
--precision=float32
"""


def with_rates(budget_class, amount):
    """A budget that keeps each step's learning rate."""

    class Watched(budget_class):
        rates = []

        def on_train_batch_begin(self, batch, logs=None):
            super().on_train_batch_begin(batch, logs)
            self.rates.append(float(self.model.optimizer.learning_rate))

    return Watched(amount)


def rates(parts):
    """The recipe's learning rates at these parts of its way: 10 of 40 epochs rise."""
    parts = np.asarray(parts)
    cosine = 0.5 * (1 + np.cos(np.pi * (parts - 0.25) / 0.75))
    return 0.01 * np.where(parts < 0.25, parts / 0.25, 0.1 + 0.9 * cosine)


def test_a_budget_of_views_is_the_schedule_of_its_steps(digits):
    # 21 steps, less than the 25 of an epoch.
    budget = with_rates(Views, 3001)
    model, numbers = train(SETTINGS, digits, budget)
    assert int(model.step.numpy()) == budget.steps == 21
    assert numbers["views"] == 21 * 50 * 3 and numbers["finite"]
    parts = np.arange(21) * 150 / 3001
    np.testing.assert_allclose(budget.rates, rates(parts), atol=2e-6)


def test_a_budget_of_minutes_ends_in_time_and_where_the_recipe_ends(
    digits, monkeypatch
):
    # A clock that is read once a step, and then is a second further.
    clock = types.SimpleNamespace(monotonic=itertools.count(100.0).__next__)
    monkeypatch.setattr(recipes_run, "time", clock)
    budget = with_rates(Minutes, 20 / 60)
    _, numbers = train(SETTINGS, digits, budget)
    # The first step is not timed.
    assert budget.steps == 21 and numbers["views"] == 21 * 150
    assert numbers["minutes"] == pytest.approx(20 / 60)
    np.testing.assert_allclose(budget.rates, rates([0, *np.arange(20) / 20]), atol=2e-6)


def test_the_end_of_a_budget_is_the_end_of_the_schedule():
    spent = tf.Variable(0.0)
    schedule = annealed(SETTINGS, spent)
    for part in (0, 0.125, 0.25, 0.625, 1):
        spent.assign(part)
        assert float(schedule(7)) == pytest.approx(rates(part), abs=1e-8)


def test_a_budget_lasts_one_step_at_least(digits):
    budget = Views(1)
    _, numbers = train(SETTINGS, digits, budget)
    assert numbers == {"views": 150, "minutes": 0.0, "finite": True}


def test_test_images_are_not_looked_at(digits, monkeypatch):
    def read(indices):
        raise AssertionError("the test part was read")

    monkeypatch.setattr(digits.test, "read", read)
    numbers = evaluate(build_encoder(SETTINGS, make_schema(SETTINGS, digits)), digits)
    held_out = digits.validation.num_examples
    assert numbers["num_evaluated"] == held_out // 2
    assert 0.2 < numbers["linear"] <= 1 and 0.2 < numbers["knn"] <= 1


def test_both_budgets_are_compared(tmp_path, monkeypatch, capsys):
    recipe, log = tmp_path / "four.flags", tmp_path / "LOG.md"
    recipe.write_text(RECIPE + "--num_views=4\n")
    log.write_text("# Log\n\n")
    arguments = ["--minutes=0.005", "--views=1001", f"--log={log}", "--seed=3"]
    monkeypatch.setattr(sys, "argv", ["recipes", str(recipe), *arguments])
    recipes.main()
    lines = capsys.readouterr().out.splitlines()
    by_time, by_views = (json.loads(line) for line in lines if line.startswith("{"))
    assert by_time["recipe"] == by_views["recipe"] == "four"
    assert by_time["budget"] == ["minutes", 0.005] and by_time["minutes"] >= 0.005
    assert by_views["budget"] == ["views", 1001] and by_views["views"] == 1200
    entry = log.read_text()
    assert len(re.findall(r"^  \| four ", entry, re.M)) == 2
    command = " ".join(re.search(r"Command: `(.*?)`", entry, re.S)[1].split())
    assert command == (
        "python -m benchmarks.recipes PATH --minutes=0.005 --views=1001 --log=PATH "
        "--seed=3"
    )
    assert str(tmp_path) not in entry


def test_a_recipe_that_diverged_stands_in_the_table():
    one = {"recipe": "r", "budget": ("views", 5000), "views": 5120, "minutes": 0.5}
    evaluated = {**one, "budget": ("minutes", 0.5), "linear": 0.5, "knn": 0.25}
    assert recipes.table_lines([one, evaluated])[1:] == [
        ("r", "5,000 views", "5,120", "0.50", "diverged", "diverged"),
        ("r", "0.5 minutes", "5,120", "0.50", "50.00", "25.00"),
    ]


def test_all_recipes_of_cifar10_are_the_default():
    names = {path.stem for path in recipes.of_cifar10()}
    assert {"cifar10", "cifar10_fast", "cifar10_eb_jepa"} <= names
    assert all(name.startswith("cifar10") for name in names)


@pytest.mark.parametrize("arguments", [[], ["--minutes=0"], ["--views=-1"]])
def test_a_budget_is_needed(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recipes", *arguments])
    with pytest.raises(SystemExit):
        recipes.main()
    assert "Expected a budget above 0. Received: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--no_such_flag=1", "no_such_flag"),
        ("--batch_size=5000", "Received: batch_size=5000"),
        ("--positives=neighbors", "Expected positives=neighbors and"),
        ("--flagfile=nowhere.flags", "nowhere.flags"),
    ],
)
def test_a_mistake_is_said_in_one_line(flag, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "one.flags"
    path.write_text(RECIPE)
    arguments = ["views", "100", f"--flagfile={path}", flag]
    monkeypatch.setattr(sys, "argv", ["recipes_run", *arguments])
    with pytest.raises(SystemExit) as ended:
        recipes_run.main()
    assert ended.value.code.startswith("recipes_run: ") and message in ended.value.code
    assert "\n" not in ended.value.code and capsys.readouterr().out == ""
