"""Recipes that are trained from several seeds each, and compared."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from tqdm import tqdm

from vicreg_keras.evaluate.records import Comparison, RecipeMetrics
from vicreg_keras.figures.text_table import format_table, mean_and_std
from vicreg_keras.search.objectives import OBJECTIVES
from vicreg_keras.search.trial import Task, run_task
from vicreg_keras.settings import DataOptions, Settings

# Names of recipes: the two that `compare` compares, and one that is not trained.
DEFAULT, BEST, UNTRAINED = "default recipe", "best recipe", "untrained"

Results = Mapping[str, Sequence[RecipeMetrics]]


def train_recipes(
    folder: pathlib.Path,
    recipes: Mapping[str, Settings],
    seeds: Sequence[int],
    *,
    data: DataOptions,
    split_seed: int,
    objective: str | None = None,
) -> dict[str, tuple[RecipeMetrics, ...]]:
    """Trains each recipe from each seed, and evaluates it on the test split.

    What is trained already is only evaluated, and what was interrupted continues.

    Args:
        folder: Folder of the runs, each by its recipe's name and its seed.
        recipes: Recipes by name; that of `UNTRAINED` is not trained.
        seeds: Seeds of each recipe's runs.
        data: The dataset.
        split_seed: Seed of the dataset's splits.
        objective: A key of `OBJECTIVES`, or `None`.

    Returns:
        By the recipe's name, metrics for each seed.

    Raises:
        InputError: If a recipe can't be trained with this data.
        NonFiniteError: If a recipe diverges.
        KeyboardInterrupt: If interrupted; everything is saved.
    """
    results: dict[str, tuple[RecipeMetrics, ...]] = {name: () for name in recipes}
    for seed in seeds:
        for name, settings in recipes.items():
            path = folder / f"{name.replace(' ', '_')}-seed{seed}"
            title = f"{name}, seed {seed}"
            print(f"{title}: {path}", flush=True)
            task = Task(
                folder=str(path),
                settings=settings.replace({"seed": seed}),
                data=data,
                split_seed=split_seed,
                objective=objective,
                test=True,
                untrained=name == UNTRAINED,
            )
            total = settings.epochs
            with tqdm(
                desc=title, total=total, unit="epoch", delay=3, disable=None
            ) as bar:
                metrics = run_task(task, lambda epoch, _: bar.update(epoch - bar.n))
            results[name] += (metrics,)
    return results


def results_table(results: Results, objective: str | None = None) -> str:
    """Returns a text table of recipes: means over seeds, and standard deviations.

    Args:
        results: What `train_recipes` returned.
        objective: A key of `OBJECTIVES`, or `None`.
    """
    lines = []
    for recipe, runs in results.items():
        line = {"": recipe, "seeds": str(len(runs))}
        if objective is not None:
            scores = _values(runs, "validation_score")
            line[f"validation {objective}"] = OBJECTIVES[objective].text(scores)
        line |= {
            "test linear": mean_and_std(_values(runs, "linear_top1")),
            "test kNN": mean_and_std(_values(runs, "knn_top1")),
            "effective rank": mean_and_std(_values(runs, "effective_rank"), ".1f", 1),
            "RankMe": mean_and_std(_values(runs, "rankme"), ".1f", 1),
            "std": mean_and_std(_values(runs, "embedding_std"), ".4f", 1),
            "embeddings": ", ".join(sorted({*_values(runs, "embedding_state")})) or "-",
            "representations": ", ".join(sorted({*_values(runs, "state")})),
        }
        lines.append(line)
    return format_table([tuple(lines[0]), *(tuple(line.values()) for line in lines)])


def compare(results: Results, objective: str) -> Comparison:
    """Compares the best recipe with the default one, seed by seed.

    On the test split where there are accuracies (linear, or kNN where that is the
    objective), else by the objective. More than one seed gives the mean difference a
    95 % confidence interval, Student's.

    Args:
        results: What `train_recipes` returned.
        objective: A key of `OBJECTIVES`.
    """
    if BEST not in results:
        text = "No trial did better than the default recipe on the validation split."
        return Comparison(better=False, text=text)
    metric = "knn_top1" if objective == "knn" else "linear_top1"
    measure = f"test {metric.removesuffix('_top1').replace('knn', 'kNN')}"
    if not _values(results[BEST], metric):
        metric, measure = "validation_score", f"validation {objective}"
    best, default = _values(results[BEST], metric), _values(results[DEFAULT], metric)
    mean, interval = float(np.mean(best) - np.mean(default)), None
    better = False if mean <= 0 else None
    reason = "one seed does not tell"
    if len(best) > 1:
        error = stats.sem(np.subtract(best, default))
        half = float(error * stats.t.ppf(0.975, len(best) - 1))
        interval = (mean - half, mean + half)
        better = True if interval[0] > 0 else better
        reason = "the seeds differ too much"
    conclusion = {
        True: "The best recipe beats the default one.",
        False: "The best recipe does not beat the default one.",
        None: f"It is not shown that the best recipe beats the default one: {reason}.",
    }
    percent = metric != "validation_score" or OBJECTIVES[objective].labeled
    unit, scale = (" points", 100) if percent else ("", 1)
    text = f"{measure}: best minus default is {scale * mean:+.4g}{unit}"
    if interval:
        low, high = (f"{scale * end:+.4g}" for end in interval)
        text += f" (95 % interval over {len(best)} seeds: {low} to {high})"
    return Comparison(
        compared_by=measure,
        difference=mean,
        interval=interval,
        better=better,
        text=f"{text}. {conclusion[better]}",
    )


def _values(runs: Sequence[RecipeMetrics], name: str) -> list:
    """Returns a metric of several runs, without those that do not have it."""
    values = (getattr(run, name) for run in runs)
    return [value for value in values if value is not None]
