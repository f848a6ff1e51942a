"""The mode `ablate`: what is each term of the loss good for?"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.spectrum import diagnose_collapse, spectrum
from vicreg_keras.figures import text_table
from vicreg_keras.figures.ablation import ablation
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.figures.style import save
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.pretrain import prepare_positives
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_encoder
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.training.positives import neighbor_source
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.training.scores import embedding_diagnosis
from vicreg_keras.workdir.run_folder import RunFolder

# One term left out at a time: weights that replace the recipe's.
VARIANTS = {
    "full loss": {},
    "no variance": {"variance_weight": 0.0},
    "no covariance": {"covariance_weight": 0.0},
    "no invariance": {"invariance_weight": 0.0},
}
_WEIGHTS = ("invariance_weight", "variance_weight", "covariance_weight")


def parse_grid(texts: Sequence[str]) -> dict[str, dict]:
    """Variants from weights as a person types them.

    Args:
        texts: each `"25-25-1"`: invariance, variance, covariance.

    Returns:
        A name, and the weights that replace the recipe's, of each.

    Raises:
        ValueError: if one is not three numbers of 0 or more.
    """
    variants = {}
    for text in texts:
        try:
            numbers = [float(part) for part in text.split("-")]
        except ValueError:
            numbers = []
        if len(numbers) != len(_WEIGHTS):
            raise ValueError(
                "Expected --weights_grid=25-25-1,25-50-1: weights of invariance, "
                f"variance and covariance, as often as wanted. Received: {text}."
            )
        variants[text] = dict(zip(_WEIGHTS, numbers, strict=True))
    return variants


def run_ablate(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    *,
    claim: Callable[[RunFolder, Settings], None],
    variants: Mapping[str, dict] = VARIANTS,
    num_seeds: int = 1,
) -> dict:
    """Pretrains each variant from each seed, judges all, prints and draws a table.

    A variant that is trained already is only judged; one that was cut off continues.

    Args:
        settings: the recipe that the variants depart from.
        dataset: a labeled dataset with a test split.
        run: its folder holds the variants' runs, each under its name and seed.
        claim: called with a variant's run and settings before it is trained.
        variants: settings that replace the recipe's, by name.
        num_seeds: runs of each variant, from the recipe's seed on.

    Returns:
        The row that was kept.

    Raises:
        ValueError: as `pretrain`, or if the dataset has no labels or no test split.
    """
    run.create()
    results = {}
    source = neighbor_source(settings, dataset)
    for seed in range(settings.seed, settings.seed + num_seeds):
        baseline = None
        for name, weights in variants.items():
            chosen = dataclasses.replace(settings, seed=seed, **weights)
            folder = f"{name.replace(' ', '_')}-seed{seed}"
            part = RunFolder(run.path / "ablate" / folder)
            part.create()
            print(f"{name}, seed {seed}: {part.path}", flush=True)
            with part.lock():
                claim(part, chosen)
                positives = source and prepare_positives(source, part, chosen)
                last = pretrain(chosen, dataset, part, positives=positives)
            draw_run(part)
            if last["stopped_by"]:
                return {"stopped_by": last["stopped_by"]}
            # In the run's own precision, as the untrained encoder beside it.
            encoder = trained_encoder(chosen, dataset, part)
            context = Context(encoder, dataset, part, seed=seed)
            numbers = _judge(context)
            numbers["embedding_std"] = last["val_embedding_std"]
            found = embedding_diagnosis(part)
            numbers["embedding_state"] = found and found.state
            results.setdefault(name, []).append(numbers)
            if baseline is None:
                untrained = Context(build_encoder(chosen, dataset), dataset, seed=seed)
                baseline = _judge(untrained)
        results.setdefault("untrained", []).append(baseline)
    row = {
        "mode": "ablate",
        "dataset": dataset.name,
        "split": "test",
        "seeds": list(range(settings.seed, settings.seed + num_seeds)),
        "epochs": settings.epochs,
        "variants": {name: dict(weights) for name, weights in variants.items()},
        "results": results,
    }
    _print(row)
    run.append_metrics(row)
    path = run.figures / "ablation.png"
    drawn = {
        name: [SimpleNamespace(**run) for run in runs] for name, runs in results.items()
    }
    save(ablation(drawn), path)
    print(f"A picture of it: {path}")
    return row


def _judge(context):
    features = [context.features[name] for name in ("train", "validation", "test")]
    num_classes = context.dataset.num_classes
    context.require("an ablation", labels=True, test=True)
    metrics = spectrum(features[1].representations).metrics
    return {
        "linear_top1": context.linear_probe.metrics.top1,
        "knn_top1": knn_eval(*features, num_classes=num_classes).metrics.top1,
        "effective_rank": metrics.effective_rank,
        "rankme": metrics.rankme,
        "state": diagnose_collapse(metrics, kind="representation").state,
    }


def _print(row):
    seeds = row["seeds"]
    print(
        f"Ablation on {row['dataset']}, {row['epochs']} epochs, test split; accuracy "
        f"in percent, mean and deviation over seeds {', '.join(map(str, seeds))}."
    )
    rows = [
        ("", "linear", "kNN", "std", "embeddings", "effective rank", "representations")
    ]
    for name, runs in row["results"].items():
        stds = [numbers.get("embedding_std") for numbers in runs]
        rows.append(
            (
                name,
                _mean_percent(runs, "linear_top1"),
                _mean_percent(runs, "knn_top1"),
                "-" if None in stds else f"{np.mean(stds):.4f}",
                _states(runs, "embedding_state"),
                f"{np.mean([numbers['effective_rank'] for numbers in runs]):.1f}",
                _states(runs, "state"),
            )
        )
    print(text_table.format_table(rows))


def _states(runs, key):
    return ", ".join(sorted({numbers.get(key) or "-" for numbers in runs}))


def _mean_percent(runs, key):
    values = [numbers[key] for numbers in runs]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return text_table.percent(float(np.mean(values)), std)
