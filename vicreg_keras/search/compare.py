"""The best recipe of a search against the default one, over seeds of their own."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from tqdm import tqdm

from vicreg_keras.errors import NonFiniteLossError
from vicreg_keras.evaluate.records import Comparison, RecipeMetrics
from vicreg_keras.search.objectives import OBJECTIVES
from vicreg_keras.search.space import Values, apply
from vicreg_keras.search.study import Search
from vicreg_keras.search.trial import Task, run_task
from vicreg_keras.settings import Settings

DEFAULT, BEST = "default recipe", "best recipe"

Results = Mapping[str, Sequence[RecipeMetrics]]


def train_recipes(
    search: Search,
    settings: Settings,
    recipes: Mapping[str, Values],
    seeds: Sequence[int],
) -> dict[str, tuple[RecipeMetrics, ...]]:
    """Trains each recipe from each seed, and evaluates it on the test split.

    What is trained already is only evaluated, and what was interrupted continues.

    Args:
        search: The search, in whose folder `compare/` the runs are.
        settings: The recipe that the others change; its seed splits the data.
        recipes: Changed values by the recipe's name.
        seeds: Seeds of each recipe's runs.

    Raises:
        InputError: If a recipe can't be trained with this data.
        NonFiniteLossError: If a recipe diverges.
        KeyboardInterrupt: If interrupted; everything is saved.
    """
    results: dict[str, tuple[RecipeMetrics, ...]] = {name: () for name in recipes}
    for seed in seeds:
        for name, values in recipes.items():
            folder = search.run.path / "compare" / f"{name.split()[0]}-seed{seed}"
            title = f"{name}, seed {seed}"
            print(f"{title}: {folder}", flush=True)
            task = Task(
                folder=str(folder),
                settings=dataclasses.replace(apply(settings, values), seed=seed),
                data=search.data,
                split_seed=settings.seed,
                objective=search.objective,
                test=True,
            )
            with tqdm(desc=title, total=settings.epochs, unit="epoch", delay=3) as bar:
                result = run_task(task, lambda epoch, _: bar.update(epoch - bar.n))
            if result.diverged:
                raise NonFiniteLossError(
                    f"Expected a recipe that can be compared. Received: {name}, which "
                    f"diverged in {folder}. Lower learning_rate, or narrow space."
                )
            top1 = {"linear_top1": result.linear_top1, "knn_top1": result.knn_top1}
            score = result.score
            results[name] += (RecipeMetrics(seed=seed, validation_score=score, **top1),)
    return results


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
    if getattr(results[BEST][0], metric) is None:
        metric, measure = "validation_score", f"validation {objective}"
    best, default = (
        np.array([getattr(one, metric) for one in results[name]])
        for name in (BEST, DEFAULT)
    )
    differences = best - default
    mean, interval = float(differences.mean()), None
    better = False if mean <= 0 else None
    reason = "one seed does not tell"
    if len(differences) > 1:
        half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
        interval = (mean - float(half), mean + float(half))
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
        text += f" (95 % interval over {len(differences)} seeds: {low} to {high})"
    return Comparison(
        compared_by=measure,
        difference=mean,
        interval=interval,
        better=better,
        text=f"{text}. {conclusion[better]}",
    )
