"""The whole search: judged without the test part, compared at the end, told plainly."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.search.conftest import SETTINGS, Untouchable, claim
from vicreg_keras import make_encoder
from vicreg_keras.search import compare, objectives, study
from vicreg_keras.search.run import run_search
from vicreg_keras.training.build import build_encoder
from vicreg_keras.workdir.run_folder import RunFolder


@pytest.mark.parametrize("name", list(objectives.OBJECTIVES))
@pytest.mark.parametrize("glance", [True, False])
def test_no_objective_looks_at_the_test_part(name, glance, without_test):
    objectives.check_objective(name, without_test)
    judge = objectives.make_judge(
        objectives.OBJECTIVES[name], without_test, glance=glance
    )
    score = judge(make_encoder("tiny", (8, 8, 3)))
    low, high = (1, 32) if name == "rankme" else (0.02, 1)
    assert low < score <= high


def test_representations_that_are_not_finite_are_a_divergence(without_test):
    def encoder(images, training):
        return tf.fill((tf.shape(images)[0], 4), np.nan)

    judge = objectives.make_judge(objectives.OBJECTIVES["rankme"], without_test)
    with pytest.raises(FloatingPointError, match="finite"):
        judge(encoder)


def test_objectives_refuse_data_that_they_cannot_judge(digits, unlabeled):
    with pytest.raises(ValueError, match="Choose an --objective without: silhouette"):
        objectives.check_objective("knn", unlabeled)
    objectives.check_objective("silhouette", unlabeled)
    with pytest.raises(ValueError, match="objective=loss"):
        objectives.check_objective("loss", digits)
    two = dataclasses.replace(digits, validation=digits.validation.take(range(2)))
    with pytest.raises(ValueError, match="--validation_fraction"):
        objectives.check_objective("rankme", two)


@pytest.fixture
def untrained(monkeypatch):
    """Encoders are not trained, but real: what they get right is read and compared."""
    calls = []

    def pretrain(settings, dataset, run, **kwargs):
        calls.append((run.path.name, settings))
        return {"stopped_by": None}

    for module in (study, compare):
        monkeypatch.setattr(module, "pretrain", pretrain)
        monkeypatch.setattr(
            module,
            "trained_encoder",
            lambda settings, dataset, run: build_encoder(settings, dataset),
        )
    return calls


def search(dataset, folder, **options):
    space = folder.parent / f"{folder.name}.yaml"
    space.write_text("learning_rate: {low: 0.1, high: 0.2}\n")
    return run_search(
        SETTINGS,
        dataset,
        RunFolder(folder),
        claim=claim_all,
        space=space,
        search_seeds=2,
        **options,
    )


def claim_all(part, changes):
    claim(part, {"mode": "pretrain", "workdir": part.path, **changes})


def test_every_run_has_the_neighbors_that_were_found(run_main, tmp_path, monkeypatch):
    found = []

    def pretrain(settings, dataset, run, *, positives, **kwargs):
        found.append((run.path.name, positives))
        return {"stopped_by": None}

    for module in (study, compare):
        monkeypatch.setattr(module, "pretrain", pretrain)
        monkeypatch.setattr(
            module,
            "trained_encoder",
            lambda settings, dataset, run: build_encoder(settings, dataset),
        )
    arguments = ["--positives=neighbors", "--neighbors_from=input", "--trials=2"]
    folder = tmp_path / "search"
    code, _, err = run_main(
        *("--mode=search", *RECIPE, f"--workdir={folder}", *arguments)
    )
    assert code == 0, err
    kept = np.load(folder / "positives.npz", allow_pickle=False)["positives"]
    assert kept.shape[1] == 5 and len(found) >= 4
    for _, positives in found:
        np.testing.assert_array_equal(positives, kept)


def test_without_labels_there_is_no_accuracy(unlabeled, untrained, tmp_path, capsys):
    for objective in ("silhouette", "rankme"):
        row = search(unlabeled, tmp_path / objective, objective=objective, trials=2)
        runs = row["results"]["best recipe"]
        assert [set(one) for one in runs] == [{"seed", "held_out"}] * 2
        assert row["comparison"]["compared_by"] == f"held-out {objective}"
        text = capsys.readouterr().out
        assert f"held-out {objective}" in text and "test" not in text.split("seeds")[1]


def test_the_test_part_is_read_once_at_the_end(
    digits, untrained, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "search"
    row = search(digits, folder, trials=3, trial_epochs=1)
    names = [name for name, _ in untrained]
    assert names == [
        *("0000", "0001", "0002"),
        *("default-seed1", "best-seed1", "default-seed2", "best-seed2"),
    ]
    # Trials are short and of the search's seed, the last runs neither.
    assert {(one.epochs, one.seed) for _, one in untrained[:3]} == {(1, 0)}
    assert {(one.epochs, one.seed) for _, one in untrained[3:]} == {(2, 1), (2, 2)}
    rates = [one.learning_rate for _, one in untrained[3:]]
    assert (
        rates[::2] == [1e-3] * 2
        and rates[1] == rates[3] == row["best_values"]["learning_rate"]
    )
    assert RunFolder(folder).read_metrics("search") == [json.loads(json.dumps(row))]
    # Untrained encoders of one seed are the same: the search says what that is worth.
    assert row["comparison"]["difference"] == 0 and row["comparison"]["better"] is False
    text = capsys.readouterr().out
    assert "The best recipe does not beat the default one." in text
    for name in ("search_history.png",):
        assert (folder / "figures" / name).stat().st_size > 5000
    # The same command again tells the same, and reads no test part.
    closed = dataclasses.replace(digits, test=Untouchable())
    again = search(closed, folder, trials=3, trial_epochs=1)
    assert again == json.loads(json.dumps(row)) and len(untrained) == 7
    assert "does not beat" in capsys.readouterr().out


def results(default, best, **others):
    def runs(values):
        return [{"seed": i, "knn_top1": one, **others} for i, one in enumerate(values)]

    return {"default recipe": runs(default), "best recipe": runs(best)}


@pytest.mark.parametrize(
    ("default", "best", "better", "text"),
    [
        ((0.5, 0.6, 0.55), (0.6, 0.71, 0.64), True, "The best recipe beats"),
        ((0.5, 0.6, 0.55), (0.5, 0.9, 0.45), None, "the seeds differ too much"),
        ((0.5, 0.6, 0.55), (0.5, 0.5, 0.55), False, "does not beat"),
        ((0.5,), (0.6,), None, "one seed does not tell"),
    ],
)
def test_the_verdict_is_plain(default, best, better, text):
    found = compare.comparison(results(default, best), "knn")
    assert found["better"] is better and text in found["text"]
    assert found["compared_by"] == "test kNN"
    if len(default) == 3:
        low, high = found["interval"]
        # Student's with two degrees of freedom: 4.303 standard errors.
        differences = np.subtract(best, default)
        half = 4.303 * differences.std(ddof=1) / np.sqrt(3)
        assert (low, high) == pytest.approx(
            (differences.mean() - half, differences.mean() + half), abs=1e-3
        )


def test_where_no_trial_is_better_it_says_so():
    found = compare.comparison({"default recipe": [{"held_out": 1.0}]}, "knn")
    assert found["better"] is False and "No trial did better" in found["text"]


RECIPE = (
    *(
        "--encoder=tiny",
        "--projector=8-8",
        "--views=grayscale",
        "--jitter_probability=0",
    ),
    *("--crop_scale=1,1", "--flip_probability=0.5", "--epochs=1", "--warmup_epochs=0"),
)


def test_the_best_recipe_runs_as_it_is(run_main, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {low: 2e-3, high: 1e-2}\nflip: {choices: [0.25]}")
    folder = tmp_path / "search"
    search = ("--mode=search", *RECIPE, f"--workdir={folder}", f"--space={space}")
    code, out, err = run_main(*search, "--trials=1", "--search_seeds=1")
    assert code == 0, err
    assert out.startswith("trial 0, knn ") and "0 min 00 s left" in out
    assert "one seed does not tell" in out or "does not beat" in out
    best = (folder / "best.flags").read_text()
    assert "# The best of 1 trials by knn on held-out examples: " in best
    (row,) = RunFolder(folder).read_metrics("search")
    rate = row["best_values"]["learning_rate"]
    for line in (
        f"--learning_rate={rate}",
        "--flip_probability=0.25",
        "--epochs=1",
        "--encoder=tiny",
    ):
        assert line in best.splitlines()
    code, out, err = run_main(
        f"--flagfile={folder / 'best.flags'}", f"--workdir={tmp_path / 'best'}"
    )
    assert code == 0, err
    # It is the trial over again.
    trial, again = (
        RunFolder(path).read_metrics("pretrain")[-1]["loss"]
        for path in (folder / "trials" / "0000", tmp_path / "best")
    )
    assert again == pytest.approx(trial, rel=1e-5)
    # Another recipe does not get the folder.
    code, out, err = run_main(*search, "--batch_size=64")
    assert code == 1 and "batch_size=256" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--space={tmp}/none.yaml"], "none.yaml"),
        (["--space={tmp}/typo.yaml"], "learning_rate"),
        (["--trials=0"], "trials"),
        (["--objective=loss"], "silhouette"),
        (["--trial_epochs=2", "--warmup_epochs=3", "--epochs=9"], "warmup_epochs=3"),
        (["--workdir="], "--workdir"),
        (
            ["--positives=neighbors", "--neighbors_from={tmp}"],
            "Expected a SavedModel",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line(arguments, part, run_main, tmp_path):
    (tmp_path / "typo.yaml").write_text("lerning_rate: {low: 1, high: 2}")
    code, _, err = run_main(
        *("--mode=search", *RECIPE, f"--workdir={tmp_path / 'search'}"),
        *(argument.format(tmp=tmp_path) for argument in arguments),
    )
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 1 and len(lines) == 1 and part in lines[0], err
    assert not (tmp_path / "search" / "study.db").exists()
