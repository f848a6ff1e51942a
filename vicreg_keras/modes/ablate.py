"""The mode `ablate`: the loss with and without each of its terms, or by a grid."""

from vicreg_keras.data.card import describe
from vicreg_keras.data.dataset import open_dataset
from vicreg_keras.evaluate.features import require_class_names, require_test_split
from vicreg_keras.evaluate.records import AblateRecord, to_json
from vicreg_keras.figures.bars import ablation
from vicreg_keras.figures.style import save
from vicreg_keras.modes.options import AblateOptions
from vicreg_keras.search.compare import UNTRAINED, results_table, train_recipes
from vicreg_keras.search.trial import training_elsewhere
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.workdir.run_folder import RunFolder


@training_elsewhere
def run(
    settings: Settings, data: DataOptions, run: RunFolder, options: AblateOptions
) -> int:
    """Trains each variant from each seed, evaluates them, prints and draws a table.

    A variant that is trained already is only evaluated; one that was interrupted
    continues.

    Args:
        settings: The recipe that the variants change.
        data: A labeled dataset with a test split.
        run: Its folder holds the variants' runs, by name and seed.
        options: The mode's options.

    Returns:
        The exit status: 130 if interrupted.

    Raises:
        InputError: If the dataset has no labels or no test split, or see `pretrain`.
        NonFiniteError: If a variant diverges.
    """
    variants = options.variants(settings)
    seeds = tuple(range(settings.seed, settings.seed + options.ablate_seeds))
    settings.replace({"seed": seeds[-1]})  # There must be one.
    dataset = open_dataset(data, settings.seed)
    print(describe(dataset), flush=True)
    require_class_names(dataset)
    require_test_split(dataset)
    run.create()
    results = train_recipes(
        run.path / "ablate",
        {**variants, UNTRAINED: settings},
        seeds,
        data=data,
        split_seed=settings.seed,
    )
    print(
        f"Ablation on {dataset.name}, {settings.epochs} epochs; accuracy in percent, "
        f"mean and standard deviation over seeds {', '.join(map(str, seeds))}."
    )
    print(results_table(results))
    record = AblateRecord(
        dataset=dataset.name,
        seed=settings.seed,
        split="test",
        seeds=seeds,
        epochs=settings.epochs,
        variants={name: one.group("loss") for name, one in variants.items()},
        results=results,
    )
    run.append_metrics(to_json(record))
    path = run.figures / "ablation.png"
    save(ablation(results), path)
    print(f"A figure of it: {path}")
    return 0
