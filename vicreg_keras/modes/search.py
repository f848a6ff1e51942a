"""The mode `search`: trials, the best recipe, and its comparison with the default."""

from vicreg_keras.data.card import describe
from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.evaluate.records import SearchRecord, read_records, to_json
from vicreg_keras.modes.options import SearchOptions
from vicreg_keras.search import compare
from vicreg_keras.search.objectives import OBJECTIVES, check_objective
from vicreg_keras.search.space import (
    apply,
    check_space,
    default_space,
    own_values,
    read_space,
)
from vicreg_keras.search.study import Search
from vicreg_keras.search.trial import training_elsewhere
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import to_flags
from vicreg_keras.training.identity import check_data
from vicreg_keras.workdir.files import write_text
from vicreg_keras.workdir.run_folder import RunFolder, RunLockedError


@training_elsewhere
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
        InputError: If settings, space, objective and data don't fit, no trial is
            trained to its end, or the folder has another search.
    """
    settings.replace(
        {"seed": settings.seed + options.search_seeds}
    )  # There must be one.
    dataset = open_dataset(data, settings.seed)
    print(describe(dataset), flush=True)
    check_objective(options.objective, dataset)
    settings = settings.for_examples(dataset.example_shape)
    trial_settings = settings.replace(
        {"epochs": options.trial_epochs or settings.epochs}
    )
    space = read_space(options.space) if options.space else default_space(settings)
    check_space(space, trial_settings)
    run.create()
    search = Search(trial_settings, data, run, objective=options.objective, space=space)
    check_data(run, settings, dataset)
    search.optimize(options.trials)
    _write(search, settings)
    search.draw()
    try:
        with run.lock():
            record = _compare(search, settings, dataset.name, options)
            _print(record, run)
    except RunLockedError:
        print("Another process compares the recipes.")
    return 0


def _write(search: Search, settings: Settings) -> None:
    """Writes the best recipe as a flag file."""
    best = search.best()
    flags = to_flags(search.data, apply(settings, best.params)) | {"mode": "pretrain"}
    score = OBJECTIVES[search.objective].text([best.value])
    text = (
        f"# Trial {search.number_of(best)} of a search by {search.objective} on the "
        f"validation split: {score}\n"
        f"# ({len(search.trials())} trials of {search.settings.epochs} epochs, seed "
        f"{settings.seed}).\n"
    )
    lines = [f"--{name}={value}\n" for name, value in sorted(flags.items())]
    write_text(search.run.path / "best.flags", text + "".join(lines))


def _compare(
    search: Search, settings: Settings, dataset: str, options: SearchOptions
) -> SearchRecord:
    """Returns the comparison of the best recipe, an earlier one if it is the same."""
    best = search.best()
    # All trials have the seed before these.
    seeds = tuple(settings.seed + 1 + i for i in range(options.search_seeds))
    earlier = read_records(search.run, SearchRecord)
    for record in earlier:
        known = (record.best_values, record.seeds, record.epochs)
        if known == (best.params, seeds, settings.epochs):
            # The test split is not read again for known metrics.
            return record
    recipes = {compare.DEFAULT: settings}
    if best.params != own_values(settings, search.space):
        recipes[compare.BEST] = apply(settings, best.params)
    results = compare.train_recipes(
        search.run.path / "compare",
        recipes,
        seeds,
        data=search.data,
        split_seed=settings.seed,
        objective=search.objective,
    )
    record = SearchRecord(
        dataset=dataset,
        seed=settings.seed,
        objective=search.objective,
        num_trials=len(search.trials()),
        best_trial=search.number_of(best),
        best_value=best.value,
        best_values=best.params,
        epochs=settings.epochs,
        trial_epochs=search.settings.epochs,
        seeds=seeds,
        results=results,
        comparison=compare.compare(results, search.objective),
        earlier_comparisons=len(earlier),
    )
    search.run.append_metrics(to_json(record))
    return record


def _print(record: SearchRecord, run: RunFolder) -> None:
    print(
        f"Search on {record.dataset} by {record.objective}: trial {record.best_trial} "
        f"is the best of {record.num_trials}. Recipes over {record.epochs} epochs "
        f"from seeds {', '.join(map(str, record.seeds))}, mean and standard deviation; "
        "accuracy in percent."
    )
    print(compare.results_table(record.results, record.objective))
    print(record.comparison.text)
    if record.earlier_comparisons:
        print(
            f"This search was compared {record.earlier_comparisons} times before: the "
            "test split has influenced what was searched since."
        )
    print(f"The best recipe, in {run.path / 'best.flags'}; figures in {run.figures}:")
    for name, value in record.best_values.items():
        print(f"  {name}={value}")
