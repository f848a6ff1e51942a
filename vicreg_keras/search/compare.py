"""Is the best recipe of a search better than the one it began with?

Both are trained anew from seeds that the search did not use. The test part is read
here, once all that is trained, and nowhere else.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from scipy import stats

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.features import compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.figures import text_table
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.search.memory import forgotten_models
from vicreg_keras.search.objectives import OBJECTIVES, make_judge
from vicreg_keras.search.space import apply
from vicreg_keras.search.study import Claim
from vicreg_keras.settings import Settings
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.run_folder import RunFolder

DEFAULT, BEST = "default recipe", "best recipe"
_TEST_NUMBERS = {"linear_top1": "test linear", "knn_top1": "test kNN"}


def train_recipes(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    num_seeds: int,
    claim: Claim,
    positives: np.ndarray | None = None,
) -> dict[str, list[tuple[Settings, RunFolder]]] | None:
    """Trains each recipe from each seed after the recipe's own; the test part rests.

    What is trained already is left as it is, and what was cut off continues.

    Args:
        settings: the recipe that the others depart from.
        dataset: what is trained on.
        run: the folder of the search; the runs go into its `compare/`.
        recipes: values that replace the recipe's, by name.
        num_seeds: runs of each.
        claim: as of `study.Search`.
        positives: as of `pretrain`, of every run.

    Returns:
        Settings and runs of each recipe, or `None` if a signal came.

    Raises:
        ValueError: as `pretrain`.
        FloatingPointError: as `pretrain`.
    """
    trained = {}
    for seed in _seeds(settings, num_seeds):
        for name, values in recipes.items():
            chosen = dataclasses.replace(apply(settings, values), seed=seed)
            folder = f"{name.split()[0]}-seed{seed}"
            part = RunFolder(run.path / "compare" / folder)
            part.create()
            print(f"{name}, seed {seed}: {part.path}", flush=True)
            with part.lock(), forgotten_models():
                claim(part, {**values, "seed": seed})
                last = pretrain(chosen, dataset, part, positives=positives)
            draw_run(part)
            if last["stopped_by"]:
                return None
            trained.setdefault(name, []).append((chosen, part))
    return trained


def judge_recipes(
    trained: Mapping[str, Sequence[tuple[Settings, RunFolder]]],
    dataset: Dataset,
    objective: str,
) -> dict[str, list[dict]]:
    """Held-out scores and, where there are labels and a test part, test accuracies.

    Args:
        trained: what `train_recipes` gave.
        dataset: what it was trained on.
        objective: a key of `objectives.OBJECTIVES`.

    Returns:
        Of each recipe one dict a seed: `held_out` and, perhaps, `linear_top1` and
        `knn_top1` in [0, 1], of test examples.
    """
    results = {}
    for name, runs in trained.items():
        for chosen, part in runs:
            numbers = {"seed": chosen.seed}
            with forgotten_models():
                encoder = trained_encoder(chosen, dataset, part)
                judge = make_judge(OBJECTIVES[objective], dataset)
                numbers["held_out"] = judge(encoder)
                if dataset.num_classes is not None and dataset.test is not None:
                    numbers |= _test_accuracies(encoder, dataset)
            results.setdefault(name, []).append(numbers)
    return results


def format_comparison(results: Mapping[str, Sequence[dict]], objective: str) -> str:
    """A table of what `judge_recipes` gave, mean and deviation over seeds.

    Args:
        results: the dict, fresh or read back from JSON.
        objective: a key of `objectives.OBJECTIVES`.
    """
    first = next(iter(results.values()))[0]
    tested = {key: title for key, title in _TEST_NUMBERS.items() if key in first}
    rows = [("", "seeds", f"held-out {objective}", *tested.values())]
    for name, runs in results.items():
        held_out = OBJECTIVES[objective].text(*_mean_and_std(runs, "held_out"))
        cells = [text_table.percent(*_mean_and_std(runs, key)) for key in tested]
        rows.append((name, str(len(runs)), held_out, *cells))
    return text_table.format_table(rows)


def comparison(results: Mapping[str, Sequence[dict]], objective: str) -> dict:
    """Whether the best recipe beats the default one, said plainly.

    The recipes are compared seed by seed, on test examples where there are accuracies
    (linear, or kNN where that was searched by), else on held-out ones. More than one
    seed gives the mean difference an interval, Student's, of 95 %.

    Args:
        results: what `judge_recipes` gave.
        objective: a key of `objectives.OBJECTIVES`.

    Returns:
        A dict that JSON can hold: `compared_by`, the mean `difference`, its `interval`
        (`None` for one seed), `better` (`True`, `False`, or `None` where the seeds do
        not tell), and `text`.
    """
    if BEST not in results:
        text = "No trial did better than the default recipe on held-out examples."
        return {"better": False, "text": text}
    key = "knn_top1" if objective == "knn" else "linear_top1"
    key = key if key in results[BEST][0] else "held_out"
    differences = np.array(
        [
            best[key] - default[key]
            for best, default in zip(results[BEST], results[DEFAULT], strict=True)
        ]
    )
    mean, interval = float(differences.mean()), None
    if len(differences) > 1:
        half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
        interval = [mean - float(half), mean + float(half)]
    better = None
    if mean <= 0 or (interval and interval[1] < 0):
        better = False
    elif interval and interval[0] > 0:
        better = True
    measure = _TEST_NUMBERS.get(key, f"held-out {objective}")
    percent = key != "held_out" or OBJECTIVES[objective].labeled
    unit, scale = (" points", 100) if percent else ("", 1)
    text = f"{measure}: best minus default is {scale * mean:+.4g}{unit}"
    if interval:
        low, high = (f"{scale * end:+.4g}" for end in interval)
        text += f" (95 % interval over {len(differences)} seeds: {low} to {high})"
    text += {
        True: ". The best recipe beats the default one.",
        False: ". The best recipe does not beat the default one.",
        None: ". It is not shown that the best recipe beats the default one"
        + (": the seeds differ too much." if interval else ": one seed does not tell."),
    }[better]
    return {
        "compared_by": measure,
        "difference": mean,
        "interval": interval,
        "better": better,
        "text": text,
    }


def _seeds(settings: Settings, num_seeds: int) -> range:
    """Those after the one that every trial was trained from."""
    return range(settings.seed + 1, settings.seed + 1 + num_seeds)


def _test_accuracies(encoder: keras.Model, dataset: Dataset) -> dict:
    encode = compile_encoder(encoder, dataset.example_shape)
    features = [
        extract_features(encode, part, verbose=0)
        for part in (dataset.train, dataset.validation, dataset.test)
    ]
    num_classes = dataset.num_classes
    return {
        "linear_top1": linear_probe(*features, num_classes=num_classes).metrics.top1,
        "knn_top1": knn_eval(*features, num_classes=num_classes).metrics.top1,
    }


def _mean_and_std(runs: Sequence[dict], key: str) -> tuple[float, float | None]:
    values = [numbers[key] for numbers in runs]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), std
