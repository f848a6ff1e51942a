"""The mode `ablate`: the loss with and without each of its terms, or by a grid."""

import dataclasses

import numpy as np

from vicreg_keras.data.dataset import Dataset, open_dataset
from vicreg_keras.evaluate.collapse import diagnose_collapse
from vicreg_keras.evaluate.features import require_class_names, require_test_split
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.records import AblateRecord, AblationMetrics, to_json
from vicreg_keras.evaluate.spectrum import spectrum
from vicreg_keras.figures import text_table
from vicreg_keras.figures.ablation import ablation
from vicreg_keras.figures.style import save
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import AblateOptions
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.training.scores import embedding_diagnosis
from vicreg_keras.workdir.recipe import check_recipe
from vicreg_keras.workdir.run_folder import RunFolder

UNTRAINED = "untrained"


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
    """
    variants = options.variants(settings)
    dataset = open_dataset(data, settings.seed)
    require_class_names(dataset)
    require_test_split(dataset)
    seeds = tuple(range(settings.seed, settings.seed + options.ablate_seeds))
    results: dict[str, tuple[AblationMetrics, ...]]
    results = {name: () for name in (*variants, UNTRAINED)}
    for seed in seeds:
        seeded = settings.replace({"seed": seed})
        untrained = Context(build_encoder(seeded, dataset), dataset, seed=seed)
        for name, variant in variants.items():
            variant = variant.replace({"seed": seed})
            folder = f"{name.replace(' ', '_')}-seed{seed}"
            variant_run = RunFolder(run.path / "ablate" / folder)
            print(f"{name}, seed {seed}: {variant_run.path}", flush=True)
            metrics = _train(variant, data, dataset, variant_run)
            if metrics is None:
                return 130
            results[name] += (metrics,)
        results[UNTRAINED] += (_evaluate(untrained),)
    record = AblateRecord(
        dataset=dataset.name,
        seed=settings.seed,
        split="test",
        seeds=seeds,
        epochs=settings.epochs,
        variants={name: one.group("loss") for name, one in variants.items()},
        results=results,
    )
    _print(record)
    run.append_metrics(to_json(record))
    path = run.figures / "ablation.png"
    save(ablation(results), path)
    print(f"A figure of it: {path}")
    return 0


def _train(
    settings: Settings, data: DataOptions, dataset: Dataset, run: RunFolder
) -> AblationMetrics | None:
    """Trains and evaluates one variant; returns `None` if interrupted."""
    run.create()
    with run.lock():
        check_recipe(run, settings, data)
        result = pretrain(settings, dataset, run)
    if result.stopped_by:
        return None
    # In the run's own precision, as the untrained encoder.
    encoder = trained_encoder(settings, dataset, run)
    diagnosis = embedding_diagnosis(run)
    return dataclasses.replace(
        _evaluate(Context(encoder, dataset, run, seed=settings.seed)),
        embedding_std=result.metrics["val_embedding_std"],
        embedding_state=diagnosis.state if diagnosis else None,
    )


def _evaluate(context: Context) -> AblationMetrics:
    features = [context.features[name] for name in ("train", "validation", "test")]
    num_classes = context.dataset.num_classes
    ranks = spectrum(features[1].representations)
    return AblationMetrics(
        linear_top1=context.linear_probe.metrics.top1,
        knn_top1=knn_eval(*features, num_classes=num_classes).metrics.top1,
        effective_rank=ranks.effective_rank,
        rankme=ranks.rankme,
        state=diagnose_collapse(ranks, kind="representation").state,
    )


def _print(record: AblateRecord) -> None:
    seeds = ", ".join(map(str, record.seeds))
    print(
        f"Ablation on {record.dataset}, {record.epochs} epochs, {record.split} split; "
        f"accuracy in percent, mean and standard deviation over seeds {seeds}."
    )
    columns = ("linear", "kNN", "std", "embeddings", "effective rank")
    lines = [("", *columns, "representations")]
    for name, runs in record.results.items():
        stds = [one.embedding_std for one in runs if one.embedding_std is not None]
        lines.append(
            (
                name,
                text_table.mean_percent([one.linear_top1 for one in runs]),
                text_table.mean_percent([one.knn_top1 for one in runs]),
                f"{np.mean(stds):.4f}" if stds else "-",
                ", ".join(sorted({one.embedding_state or "-" for one in runs})),
                f"{np.mean([one.effective_rank for one in runs]):.1f}",
                ", ".join(sorted({one.state for one in runs})),
            )
        )
    print(text_table.format_table(lines))
