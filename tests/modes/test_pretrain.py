"""The mode `pretrain`: its figures, and neighbors of an earlier run as positives."""

import json

import numpy as np
import pytest

from vicreg_keras import load_dataset
from vicreg_keras.evaluate.features import input_features
from vicreg_keras.evaluate.records import PretrainRecord, read_records
from vicreg_keras.modes import pretrain as mode
from vicreg_keras.modes.options import PretrainOptions
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.training.positives import PositivesRecord, prepare_positives
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.run_folder import RunFolder

RECIPE = {
    "encoder": "tiny",
    "projector": "32",
    "views": "grayscale",
    "batch_size": 64,
    "epochs": 1,
    "warmup_epochs": 0,
    "score_every": 0,
    "strategy": "one",
}


@pytest.fixture(scope="module")
def earlier(digits, tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("earlier"))
    pretrain(Settings(**RECIPE), digits, run)
    return run


def settings(earlier, **changes):
    paired = {"positives": "neighbors", "neighbors_from": str(earlier.path)}
    return Settings(**{**RECIPE, **paired, **changes})


def test_neighbors_are_trained_on(earlier, digits, tmp_path, capsys):
    run = RunFolder(tmp_path)
    result = pretrain(settings(earlier, num_positives=3), digits, run)
    with np.load(run.path / "positives.npz", allow_pickle=False) as kept:
        positives = kept["positives"]
    assert positives.shape == (300, 3)
    assert not (positives == np.arange(300)[:, None]).any()
    labels = digits.train.labels
    same = np.mean(labels[positives] == labels[:, None])
    assert (run.figures / "loss.png").stat().st_size > 10_000
    (record,) = read_records(run, PositivesRecord)
    assert record.same_class == pytest.approx(same) and same > 0.5
    assert record.same_class_by_chance == pytest.approx(0.1, abs=0.02)
    assert (record.num_train, record.num_positives) == (300, 3)
    assert (record.neighbors_from, record.index) == (str(earlier.path), "Flat")

    # The earlier run had the same recipe and seed: were the neighbors not trained on,
    # the losses would be equal.
    (alone,) = read_records(earlier, PretrainRecord)
    name = "invariance_loss"
    assert result.metrics[name] != alone.metrics[name]

    printed = capsys.readouterr().out
    assert "of the 3 nearest of 300 training examples" in printed
    assert f"{100 * same:.2f} % of them are of the example's own class" in printed

    # A run with a checkpoint continues with the positives it was started with.
    other = positives[:, ::-1]
    fingerprint = digits.pretraining.examples_fingerprint
    np.savez(run.path / "positives.npz", positives=other, fingerprint=fingerprint)
    pretrain(settings(earlier, num_positives=3, epochs=2), digits, run)
    with np.load(run.path / "positives.npz", allow_pickle=False) as kept:
        np.testing.assert_array_equal(kept["positives"], other)
    # Of other data, they are found anew.
    np.savez(run.path / "positives.npz", positives=other[:9], fingerprint="other")
    found = prepare_positives(settings(earlier, num_positives=3), digits, run)
    np.testing.assert_array_equal(found, positives)
    (run.path / "positives.npz").write_bytes(b"torn")
    with pytest.raises(ValueError, match="the neighbors that this run was started"):
        pretrain(settings(earlier, epochs=3), digits, run)


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_neighbors_of_the_input_need_no_earlier_run(name, tmp_path, capsys):
    dataset = load_dataset(name)
    chosen = (
        {"encoder": "tiny", "views": "grayscale"} if name == "digits" else {"mlp": "8"}
    )
    recipe = Settings(
        **{**RECIPE, "encoder": "auto", "views": "auto", **chosen},
        positives="neighbors",
        neighbors_from="input",
        num_positives=2,
    )
    pretrain(recipe, dataset, RunFolder(tmp_path))
    with np.load(tmp_path / "positives.npz", allow_pickle=False) as kept:
        positives = kept["positives"]
    rows = input_features(dataset, "train").representations.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    found = np.take_along_axis(similarity, positives, axis=1)
    expected = np.sort(similarity, axis=1)[:, :-3:-1]
    # Rows may be twice there: the similarities tell, not the places.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    printed = capsys.readouterr().out
    assert "training examples, according to the raw input" in printed
    (record,) = read_records(RunFolder(tmp_path), PositivesRecord)
    assert record.neighbors_from == "the raw input"


def test_settings_and_sources_that_do_not_fit(earlier, digits, tmp_path):
    with pytest.raises(ValueError, match="neighbors_from=RUN .or input. together"):
        Settings(positives="neighbors")
    with pytest.raises(ValueError, match="neighbors_from=RUN .or input. together"):
        Settings(neighbors_from=str(earlier.path))
    with pytest.raises(ValueError, match="num_positives=0"):
        settings(earlier, num_positives=0)
    with pytest.raises(ValueError, match="Expected the folder of a run"):
        pretrain(settings(RunFolder(tmp_path / "no")), digits, RunFolder(tmp_path))
    larger = load_dataset("digits", image_size=16)
    with pytest.raises(ValueError, match="8"):
        pretrain(settings(earlier), larger, RunFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_warm_up_as_long_as_the_run_is_shortened(digits, tmp_path, capsys):
    recipe = Settings(**{**RECIPE, "epochs": 1, "warmup_epochs": 3})
    pretrain(recipe, digits, RunFolder(tmp_path))
    (record,) = read_records(RunFolder(tmp_path), PretrainRecord)
    assert record.metrics["learning_rate"] < 0.5 * recipe.learning_rate
    printed = capsys.readouterr().out
    assert "shortened to 0.1 epochs: warmup_epochs=3" in printed


def test_how_to_compare_with_the_source_is_told(
    earlier, digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(mode, "open_dataset", lambda *_: digits)
    run = RunFolder(tmp_path)
    assert mode.run(settings(earlier), DataOptions(), run, PretrainOptions()) == 0
    assert f"runs={earlier.path},{tmp_path}" in capsys.readouterr().out


def test_metrics_are_strict_json(earlier):
    # JSON as other tools read it: no NaN.
    for line in earlier.metrics.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_fewer_epochs_than_a_run_has_are_refused(run_main, tmp_path):
    recipe = ["--mode=pretrain", "--encoder=tiny", "--projector=8", "--batch_size=512"]
    recipe += ["--score_every=0", f"--workdir={tmp_path}"]
    assert run_main(*recipe, "--epochs=2")[0] == 0
    flags = RunFolder(tmp_path).flags.read_text()
    code, _, err = run_main(*recipe, "--epochs=1")
    assert code == 1 and "at least 2" in err and len(err.strip().splitlines()) == 1
    assert RunFolder(tmp_path).flags.read_text() == flags


def test_options_of_the_other_kind_of_data_are_refused(run_main, tmp_path):
    for arguments, part in (
        (["--dataset=digits", "--mlp=64-32"], "--encoder=mlp"),
        (["--dataset=iris", "--hue=0.1"], "--views=cifar"),
        (["--dataset=iris", "--views=cifar"], "views for tables"),
        (["--dataset=iris"], "--batch_size=64"),
    ):
        code, _, err = run_main(
            "--mode=pretrain", f"--workdir={tmp_path}", "--epochs=1", *arguments
        )
        assert code == 1 and part in err, err
        assert len(err.strip().splitlines()) == 1
