"""The mode `search`: trials, the best recipe, and its comparison with the default."""

import contextlib
import dataclasses
import signal

import tensorflow as tf

from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import (
    SearchRecord,
    TrialRecord,
    read_records,
    to_json,
)
from vicreg_keras.figures import text_table
from vicreg_keras.figures.search import search_history, search_importance
from vicreg_keras.figures.style import save
from vicreg_keras.modes.options import SearchOptions
from vicreg_keras.search import compare
from vicreg_keras.search.objectives import OBJECTIVES, check_objective
from vicreg_keras.search.space import (
    Values,
    apply,
    check_space,
    default_space,
    own_values,
    read_space,
)
from vicreg_keras.search.study import Search
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import to_flags
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder, RunLockedError

_TEST_METRICS = {"linear_top1": "test linear", "knn_top1": "test kNN"}


def run(
    settings: Settings, data: DataOptions, run: RunFolder, options: SearchOptions
) -> int:
    """Searches, writes the best recipe, and compares it with the given one.

    Args:
        settings: The recipe that the search begins with.
        data: The dataset; scores are of its validation split.
        run: Folder of the search.
        options: The mode's options.

    Returns:
        The exit status: 130 if interrupted.

    Raises:
        InputError: If settings, space, objective and data don't fit, or the folder has
            another search.
    """
    with contextlib.suppress(RuntimeError):  # In a process that has used a GPU.
        # Trainings are processes of their own, whose memory it is.
        tf.config.set_visible_devices([], "GPU")
    dataset = open_dataset(data, settings.seed)
    check_objective(options.objective, dataset)
    settings = settings.for_examples(dataset.example_shape)
    trial_settings = dataclasses.replace(
        settings, epochs=options.trial_epochs or settings.epochs
    )
    space = read_space(options.space) if options.space else default_space(settings)
    check_space(space, trial_settings)
    run.create()
    # A process that is told to end puts its trial back, as one that is interrupted.
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        search = Search(
            trial_settings, data, run, objective=options.objective, space=space
        )
        search.optimize(options.trials)
        best = search.best()
        if best is None:
            raise InputError(
                "Expected a trial that is trained to its end. Received: none of "
                f"{len(search.records())}. Raise trials, or narrow space."
            )
        _write(search, best, settings)
        with run.lock():
            seeds = options.search_seeds
            _print(_compare(search, best, settings, dataset.name, seeds), run)
    except RunLockedError:
        print("Another process compares the recipes.")
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, earlier)
    return 0


def _write(search: Search, best: TrialRecord, settings: Settings) -> None:
    """Writes the best recipe as a flag file, and draws the trials."""
    objective, trials = OBJECTIVES[search.objective], search.records()
    flags = to_flags(search.data, apply(settings, best.values)) | {"mode": "pretrain"}
    text = (
        f"# Trial {best.number} of a search by {search.objective} on the validation "
        f"split: {objective.text(best.value)}\n"  # type: ignore[arg-type]
        f"# ({len(trials)} trials of {search.settings.epochs} epochs, seed "
        f"{settings.seed}).\n"
    )
    lines = [f"--{name}={value}\n" for name, value in sorted(flags.items())]
    write_text(search.run.path / "best.flags", text + "".join(lines))
    figures = search.run.figures
    history = search_history(trials, objective.title, 100 if objective.labeled else 1)
    save(history, figures / "search_history.png")
    if importances := search.importances():
        num_complete = sum(one.state == "complete" for one in trials)
        figure = search_importance(importances, num_complete)
        save(figure, figures / "search_importance.png")


def _compare(
    search: Search, best: TrialRecord, settings: Settings, dataset: str, num_seeds: int
) -> SearchRecord:
    """Returns the comparison of the best recipe, an earlier one if it is the same."""
    # All trials have the seed before these.
    seeds = tuple(settings.seed + 1 + i for i in range(num_seeds))
    earlier = read_records(search.run, SearchRecord)
    for record in earlier:
        known = (record.best_values, record.seeds, record.epochs)
        if known == (best.values, seeds, settings.epochs):
            # The test split is not read again for known metrics.
            return record
    default = own_values(settings, search.space) or {}
    recipes: dict[str, Values] = {compare.DEFAULT: {}}
    if best.values != default:
        recipes[compare.BEST] = best.values
    results = compare.train_recipes(search, settings, recipes, seeds)
    record = SearchRecord(
        dataset=dataset,
        seed=settings.seed,
        objective=search.objective,
        split="validation",
        best_trial=best.number,
        best_value=best.value,  # type: ignore[arg-type]
        best_values=best.values,
        default_values=default,
        epochs=settings.epochs,
        trial_epochs=search.settings.epochs,
        seeds=seeds,
        space=search.space_json(),
        trials=search.records(),
        results=results,
        comparison=compare.compare(results, search.objective),
        earlier_comparisons=len(earlier),
    )
    search.run.append_metrics(to_json(record))
    return record


def _print(record: SearchRecord, run: RunFolder) -> None:
    print(
        f"Search on {record.dataset} by {record.objective}: trial {record.best_trial} "
        f"is the best of {len(record.trials)}. Recipes over {record.epochs} epochs "
        f"from seeds {', '.join(map(str, record.seeds))}, mean and standard deviation; "
        "accuracy in percent."
    )
    metrics = {
        name: title
        for name, title in _TEST_METRICS.items()
        if getattr(record.results[compare.DEFAULT][0], name) is not None
    }
    lines = [("", "seeds", f"validation {record.objective}", *metrics.values())]
    for name, runs in record.results.items():
        scores = [one.validation_score for one in runs]
        cells = [
            text_table.mean_percent([getattr(one, metric) for one in runs])
            for metric in metrics
        ]
        text = OBJECTIVES[record.objective].text(*scores)
        lines.append((name, str(len(runs)), text, *cells))
    print(text_table.format_table(lines))
    print(record.comparison.text)
    if record.earlier_comparisons:
        print(
            f"This search was compared {record.earlier_comparisons} times before: the "
            "test split has influenced what was searched since."
        )
    print(f"The best recipe, in {run.path / 'best.flags'}; figures in {run.figures}:")
    for name, value in record.best_values.items():
        print(f"  {name}={value}")
