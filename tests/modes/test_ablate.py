"""The mode ablate: each variant is trained once, and they differ."""

import pathlib

import pytest

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import AblateRecord, read_records
from vicreg_keras.modes import ablate
from vicreg_keras.modes.options import AblateOptions
from vicreg_keras.search import compare, trial
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = Settings(
    encoder="tiny",
    projector="16-16",
    views="grayscale",
    optimizer="adam",
    learning_rate=0.02,
    batch_size=100,
    epochs=6,
    warmup_epochs=0.0,
    score_every=0,
)


def test_grid_of_weights():
    (variant,) = AblateOptions(weights_grid=("25-50-1",)).variants(SETTINGS).items()
    changes = {"variance_weight": 50.0, "covariance_weight": 1.0}
    assert variant == ("25-50-1", SETTINGS.replace(changes))
    for text in ("25-50", "25-x-1", "25-nan-1", ""):
        with pytest.raises(InputError, match="covariance_weight of every variant"):
            AblateOptions(weights_grid=(text,))


def test_every_term_of_the_recipe_has_a_variant_without_it():
    assert AblateOptions().variants(SETTINGS) == {
        "full loss": SETTINGS,
        "no invariance": SETTINGS.replace({"invariance_weight": 0.0}),
        "no variance": SETTINGS.replace({"variance_weight": 0.0}),
        "no covariance": SETTINGS.replace({"covariance_weight": 0.0}),
    }
    without = SETTINGS.replace({"covariance_weight": 0.0})
    variants = AblateOptions().variants(without)
    assert set(variants) == {"full loss", "no invariance", "no variance"}


def test_embeddings_collapse_without_the_variance_term(
    digits, tmp_path, capsys, monkeypatch
):
    run = RunFolder(tmp_path)

    def train_here(task, report):
        pathlib.Path(task.folder).mkdir(parents=True, exist_ok=True)
        return trial.train(task, report)

    # Without processes of their own, which would read another dataset.
    monkeypatch.setattr(compare, "run_task", train_here)
    for module in (ablate, trial):
        monkeypatch.setattr(module, "open_dataset", lambda data, seed: digits)

    def ablate_variants(*names):
        options = AblateOptions(ablate_seeds=1)
        variants = options.variants(SETTINGS)
        variants = {name: variants[name] for name in names}
        monkeypatch.setattr(AblateOptions, "variants", lambda *_: variants)
        assert ablate.run(SETTINGS, DataOptions(), run, options) == 0
        return read_records(run, AblateRecord)[-1]

    record = ablate_variants("full loss", "no variance")
    out = capsys.readouterr().out
    assert record.seeds == (0,)
    results = record.results
    assert set(results) == {"full loss", "no variance", "untrained"}
    assert all(len(runs) == 1 for runs in results.values())
    for full, none in zip(results["full loss"], results["no variance"], strict=True):
        assert none.embedding_std < 0.3 * full.embedding_std
    assert results["untrained"][0].embedding_std is None
    for name in results:
        assert name in out
    assert (run.figures / "ablation.png").stat().st_size > 5000
    runs = {path.name: RunFolder(path) for path in (tmp_path / "ablate").iterdir()}
    assert sorted(runs) == ["full_loss-seed0", "no_variance-seed0", "untrained-seed0"]
    flags = runs["no_variance-seed0"].read_flags()
    assert (flags["seed"], flags["variance_weight"]) == ("0", "0.0")
    # Again: nothing is trained anew, and the metrics are the same.
    logged = runs["full_loss-seed0"].read_metrics("pretrain")
    again = ablate_variants("full loss").results
    assert again["full loss"] == results["full loss"]
    assert runs["full_loss-seed0"].read_metrics("pretrain") == logged


def test_interrupted_ablation_has_its_own_status(digits, tmp_path, monkeypatch):
    def interrupted(task, report):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run_task", interrupted)
    run = RunFolder(tmp_path)
    assert ablate.run(SETTINGS, DataOptions(), run, AblateOptions()) == 130


def test_data_without_labels_is_refused(unlabeled, tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "open_dataset", lambda data, seed: unlabeled.dataset)
    with pytest.raises(ValueError, match="labels"):
        ablate.run(SETTINGS, DataOptions(), RunFolder(tmp_path), AblateOptions())
