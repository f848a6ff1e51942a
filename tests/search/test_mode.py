"""The mode search: trials, then the best recipe against the default one."""

import dataclasses

import numpy as np
import pytest

from tests.search.conftest import DATA, SETTINGS
from vicreg_keras.errors import InputError, NonFiniteError
from vicreg_keras.evaluate.records import RecipeMetrics, SearchRecord, read_records
from vicreg_keras.modes import search as mode
from vicreg_keras.modes.options import SearchOptions
from vicreg_keras.search import compare
from vicreg_keras.workdir.run_folder import RunFolder


def search(folder, data=DATA, **options):
    """Runs the mode, and returns the record that it logged."""
    space = folder.parent / f"{folder.name}.yaml"
    space.write_text("learning_rate: {low: 0.1, high: 0.2}\n")
    run = RunFolder(folder)
    options = {"space": str(space), "search_seeds": 2, **options}
    assert mode.run(SETTINGS, data, run, SearchOptions(**options)) == 0
    return read_records(run, SearchRecord)[-1]


def test_test_split_is_read_at_the_end_only(trainings, tmp_path, capsys):
    folder = tmp_path / "search"
    record = search(folder, trials=3, trial_epochs=1)
    assert trainings.folders == [
        *("0000", "0001", "0002"),
        *("default_recipe-seed1", "best_recipe-seed1"),
        *("default_recipe-seed2", "best_recipe-seed2"),
    ]
    tasks = trainings.tasks
    assert [task.test for task in tasks] == [False] * 3 + [True] * 4
    assert {task.split_seed for task in tasks} == {0}
    # Trials are short and have the search's seed, the last runs do not.
    chosen = [(task.settings.epochs, task.settings.seed) for task in tasks]
    assert set(chosen[:3]) == {(1, 0)} and set(chosen[3:]) == {(2, 1), (2, 2)}
    rates = [task.settings.learning_rate for task in tasks[3:]]
    assert rates[::2] == [1e-3] * 2
    assert rates[1] == rates[3] == record.best_values["learning_rate"]
    # All have the same accuracies.
    assert record.comparison.difference == 0 and record.comparison.better is False
    out = capsys.readouterr().out
    assert "The best recipe does not beat the default one." in out
    assert (folder / "figures" / "search_history.png").stat().st_size > 5000
    # The same command prints the same, and trains nothing.
    again = search(folder, trials=3, trial_epochs=1)
    assert again == record and len(trainings.tasks) == 7
    assert len(read_records(RunFolder(folder), SearchRecord)) == 1
    assert "does not beat" in capsys.readouterr().out


def test_data_without_labels_has_no_accuracy(trainings, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    data = dataclasses.replace(DATA, dataset=f"npz:{tmp_path / 'images.npz'}")
    trainings.accuracies = {}
    for objective in ("silhouette", "rankme"):
        folder = tmp_path / objective
        record = search(folder, data, objective=objective, trials=2)
        assert {run.linear_top1 for run in record.results["best recipe"]} == {None}
        assert record.comparison.compared_by == f"validation {objective}"
        out = capsys.readouterr().out
        assert f"validation {objective}" in out


def test_changed_data_is_refused_with_what_has_changed(trainings, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    path, labels = tmp_path / "images.npz", np.arange(60) % 3
    data = dataclasses.replace(DATA, dataset=f"npz:{path}")
    np.savez(path, images=images, labels=labels)
    search(tmp_path / "search", data, trials=1)
    search(tmp_path / "search", data, trials=2)
    labels[7] = 0
    np.savez(path, images=images, labels=labels)
    with pytest.raises(InputError, match="where 1 is of another class .'train/7'"):
        search(tmp_path / "search", data, trials=3)
    assert len([name for name in trainings.folders if name.isdecimal()]) == 2


def test_interrupted_search_has_its_own_status(trainings, tmp_path):
    trainings.ends = {1: KeyboardInterrupt()}
    options = SearchOptions(trials=3, space=None)
    assert mode.run(SETTINGS, DATA, RunFolder(tmp_path / "run"), options) == 130


def test_diverged_comparison_is_an_error(trainings, tmp_path, capsys):
    trainings.ends = {1: NonFiniteError("loss=nan")}
    with pytest.raises(NonFiniteError, match="loss=nan"):
        search(tmp_path / "search", trials=1)
    assert capsys.readouterr().out.strip().endswith("default_recipe-seed1")


def metrics(**values):
    return [
        RecipeMetrics(seed=i, **dict(zip(values, one, strict=True)))
        for i, one in enumerate(zip(*values.values(), strict=True))
    ]


@pytest.mark.parametrize(
    ("default", "best", "better", "text"),
    [
        ((0.5, 0.6, 0.55), (0.6, 0.71, 0.64), True, "The best recipe beats"),
        ((0.5, 0.6, 0.55), (0.5, 0.9, 0.45), None, "the seeds differ too much"),
        ((0.5, 0.6, 0.55), (0.5, 0.5, 0.55), False, "does not beat"),
        ((0.5,), (0.6,), None, "one seed does not tell"),
    ],
)
def test_comparison_has_a_confidence_interval(default, best, better, text):
    results = {
        name: metrics(validation_score=values, knn_top1=values)
        for name, values in (("default recipe", default), ("best recipe", best))
    }
    found = compare.compare(results, "knn")
    assert found.better is better and text in found.text
    assert found.compared_by == "test kNN"
    if len(default) == 3:
        # Student's with two degrees of freedom: 4.303 standard errors.
        differences = np.subtract(best, default)
        half = 4.303 * differences.std(ddof=1) / np.sqrt(3)
        expected = (differences.mean() - half, differences.mean() + half)
        assert found.interval == pytest.approx(expected, abs=1e-3)


def test_default_recipe_may_be_the_best():
    results = {"default recipe": metrics(validation_score=(1.0,))}
    found = compare.compare(results, "knn")
    assert found.better is False and "No trial did better" in found.text


RECIPE = (
    *("--encoder=tiny", "--projector=8-8", "--views=grayscale", "--epochs=1"),
    *("--jitter_probability=0", "--crop_scale=1,1", "--flip_probability=0.5"),
    "--warmup_epochs=0",
)


def test_best_recipe_runs_as_it_is(run_main, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(
        "learning_rate: {low: 2e-3, high: 1e-2}\nflip_probability: {choices: [0.25]}"
    )
    folder = tmp_path / "search"
    arguments = ("--mode=search", *RECIPE, f"--workdir={folder}", f"--space={space}")
    code, out, err = run_main(*arguments, "--trials=1", "--search_seeds=1")
    assert code == 0, err
    assert out.startswith("Read 1,797 images ")
    assert "\ntrial 0, knn " in out
    assert "one seed does not tell" in out or "does not beat" in out
    best = (folder / "best.flags").read_text()
    assert "# Trial 0 of a search by knn on the validation split: " in best
    (record,) = read_records(RunFolder(folder), SearchRecord)
    for line in (
        f"--learning_rate={record.best_values['learning_rate']}",
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
        RunFolder(path).read_metrics("pretrain")[-1]
        for path in (folder / "trials" / "0000", tmp_path / "best")
    )
    trial, again = (one["metrics"]["loss"] for one in (trial, again))
    assert again == pytest.approx(trial, rel=1e-5)
    # Another recipe does not get the folder.
    code, out, err = run_main(*arguments, "--batch_size=64")
    assert code == 1 and "batch_size=256" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--space={tmp}/none.yaml"], "none.yaml"),
        (["--space={tmp}/typo.yaml"], "learning_rate"),
        (["--trials=0"], "trials"),
        (["--objective=loss"], "silhouette"),
        (["--workdir="], "workdir"),
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
