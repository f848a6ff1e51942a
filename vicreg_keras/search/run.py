"""The mode `search`: trials, the best of them, and whether it is any better."""

import contextlib
import dataclasses
import pathlib
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.figures.search import search_history, search_importance
from vicreg_keras.figures.style import save
from vicreg_keras.search import compare
from vicreg_keras.search.objectives import OBJECTIVES, check_objective
from vicreg_keras.search.space import check_space, default_space, own_values, read_space
from vicreg_keras.search.study import Claim, Search, number_of
from vicreg_keras.settings import Settings
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder


def run_search(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    *,
    claim: Claim,
    trials: int = 40,
    objective: str = "knn",
    space: str | pathlib.Path | None = None,
    search_seeds: int = 5,
    trial_epochs: int | None = None,
    positives: np.ndarray | None = None,
) -> dict:
    """Searches, writes the best recipe, and compares it with the one it began with.

    Args:
        settings: the recipe that the search begins with.
        dataset: what is trained on; held-out examples judge.
        run: the folder of all that the search leaves.
        claim: called with a run and what it changes of the recipe, by name, before it
            is trained.
        trials: in all, those of earlier starts and of other processes included.
        objective: a key of `objectives.OBJECTIVES`.
        space: a YAML file, as of `space.read_space`; `None` for `space.default_space`.
        search_seeds: runs of the best recipe, and of the default one, at the end.
        trial_epochs: of a trial; `None` for the recipe's.
        positives: as of `pretrain`, of every run.

    Returns:
        The row that was kept, or `stopped_by` alone where a signal came.

    Raises:
        ValueError: if settings, space, objective and data don't fit, or the folder
            holds another search.
    """
    check_objective(objective, dataset)
    settings = settings.for_examples(dataset.example_shape)
    chosen = read_space(space) if space else default_space(settings)
    short = settings
    if trial_epochs is not None:
        short = dataclasses.replace(settings, epochs=trial_epochs)
    check_space(chosen, short)
    run.create()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        # Heartbeats are years old, and still called experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search = Search(
            short,
            dataset,
            run,
            objective=objective,
            space=chosen,
            claim=claim,
            positives=positives,
        )
        try:
            search.go(trials)
            return _finish(search, settings, dataset, run, claim, search_seeds)
        except KeyboardInterrupt:
            return {"stopped_by": "SIGINT"}


def _finish(
    search: Search,
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    claim: Claim,
    num_seeds: int,
) -> dict:
    best, objective, space = search.best(), search.name, search.space
    if best is None:
        raise ValueError(
            "Expected one trial or more that runs to its end. Received: none of "
            f"{len(_rows(search))}. Ask for more --trials, or narrow --space."
        )
    flags = _write_best(search, settings, run, best)
    _draw(search, run)
    recipes = {compare.DEFAULT: {}}
    if best.params != own_values(settings, space):
        recipes[compare.BEST] = best.params
    about = {
        "mode": "search",
        "dataset": dataset.name,
        "objective": objective,
        "split": "validation",
        "best_trial": number_of(best),
        "best_values": best.params,
        "default_values": own_values(settings, space),
        "epochs": settings.epochs,
        "seeds": [settings.seed + 1 + number for number in range(num_seeds)],
        "seed": settings.seed,
    }
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(run.lock())
        except OSError:
            print("Another process compares the recipes; this one's work is done.")
            return about
        earlier = run.read_metrics("search")
        for row in earlier:
            if about.items() <= row.items():
                # The test part is not read again for numbers that are known.
                _print(row, flags, run)
                return row
        trained = compare.train_recipes(
            settings,
            dataset,
            run,
            recipes,
            num_seeds=num_seeds,
            claim=claim,
            positives=search.positives,
        )
        if trained is None:
            return {"stopped_by": "SIGINT"}
        results = compare.judge_recipes(trained, dataset, objective)
        row = {
            **about,
            "best_value": best.value,
            "trials": _rows(search),
            "trial_epochs": search.settings.epochs,
            "space": search.study.user_attrs["about"]["space"],
            "earlier_comparisons": len(earlier),
            "results": results,
            "comparison": compare.comparison(results, objective),
        }
        run.append_metrics(row)
    _print(row, flags, run)
    return row


def _write_best(search, settings, run, best) -> pathlib.Path:
    """The best recipe as flags that main.py takes as they are."""
    flags = search.folder(best).read_settings()
    del flags["workdir"]
    flags |= {"epochs": settings.epochs, "score_every": settings.score_every}
    path = run.path / "best.flags"
    text = OBJECTIVES[search.name].text(best.value)
    lines = [
        f"# The best of {len(_rows(search))} trials by {search.name} on held-out "
        f"examples: {text}",
        f"# (trial {number_of(best)}, {search.settings.epochs} epochs, seed "
        f"{settings.seed}).",
        f"#   python main.py --flagfile={path} --workdir=runs/best",
        *(f"--{name}={value}" for name, value in sorted(flags.items())),
    ]
    write_text(path, "\n".join(lines) + "\n")
    return path


def _draw(search: Search, run: RunFolder) -> None:
    rows = _rows(search)
    objective = OBJECTIVES[search.name]
    path = run.figures / "search_history.png"
    trials = [SimpleNamespace(**row) for row in rows]
    scale = 100 if objective.labeled else 1
    save(search_history(trials, objective.title, scale), path)
    complete = [one for one in rows if one["state"] == "complete"]
    # Of trials that are all alike there is nothing to say.
    if len({one["value"] for one in complete}) > 1:
        importances = optuna.importance.get_param_importances(search.study)
        path = run.figures / "search_importance.png"
        save(search_importance(importances, len(complete)), path)


def _rows(search: Search) -> list[dict[str, Any]]:
    """What became of each trial, as JSON can hold it; the last try of each counts."""
    trials = search.study.get_trials(deepcopy=False)
    rows = {
        number_of(trial): {
            "number": number_of(trial),
            "state": "diverged"
            if trial.user_attrs.get("diverged")
            else trial.state.name.lower(),
            "value": trial.value if trial.state != TrialState.FAIL else None,
            "values": trial.params,
            "seconds": trial.duration.total_seconds() if trial.duration else None,
        }
        for trial in trials
        if number_of(trial) is not None
    }
    return [rows[number] for number in sorted(rows)]


def _print(row: dict, flags: pathlib.Path, run: RunFolder) -> None:
    seeds = ", ".join(map(str, row["seeds"]))
    print(
        f"Search on {row['dataset']} by {row['objective']}: trial {row['best_trial']} "
        f"of {len(row['trials'])} is best. Recipes over {row['epochs']} epochs from "
        f"seeds {seeds}, mean and deviation; accuracies in percent."
    )
    print(compare.format_comparison(row["results"], row["objective"]))
    print(row["comparison"]["text"])
    if row["earlier_comparisons"]:
        print(
            f"The search had been compared {row['earlier_comparisons']} times before: "
            "test numbers that a choice was made after are no test any more."
        )
    print(f"The best recipe: {flags}; pictures: {run.figures}.")
    for name, value in row["best_values"].items():
        print(f"  --{name}={value}")
