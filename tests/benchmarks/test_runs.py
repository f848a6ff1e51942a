"""Benchmarks of memory, evaluation and input; accuracy of a finished run."""

import argparse
import json

import pytest

from benchmarks import accuracy, evaluate, input, memory
from vicreg_keras.workdir.run_folder import RunFolder

TINY = (
    "--mode=pretrain",
    "--dataset=digits",
    "--encoder=tiny",
    "--projector=16-16",
    "--score_every=0",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    peak, seconds = memory.peak_of([*TINY, "--epochs=1", "--warmup_epochs=0"], folder)
    # TensorFlow alone takes more than 100 MiB.
    assert 100 * 2**20 < peak < 4 * 2**30
    assert 1 < seconds < 600
    return folder


def test_training_is_stopped_after_its_seconds_and_saved(tmp_path):
    _, seconds = memory.peak_of([*TINY, "--epochs=1000000"], tmp_path, seconds=8)
    assert 8 < seconds < 600
    assert any((tmp_path / "checkpoints").iterdir())


def test_failing_command_ends_the_benchmark(capfd, tmp_path):
    with pytest.raises(SystemExit, match="status 1"):
        memory.peak_of([*TINY, "--batch_size=100000"], tmp_path)
    assert "Received: --batch_size=100000" in capfd.readouterr().err


def test_copy_has_the_encoder_and_no_cached_files(run, tmp_path):
    (run / "features").mkdir(exist_ok=True)
    copy = memory.copy_run(str(run), str(tmp_path))
    assert (copy / "encoder" / "1" / "saved_model.pb").exists()
    assert not (copy / "features").exists()
    assert RunFolder(copy).read_flags() == RunFolder(run).read_flags()


def test_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="Expected the folder of a finished run"):
        memory.copy_run(str(tmp_path / "nowhere"), str(tmp_path))


def test_every_part_of_an_evaluation_is_timed(run):
    names, seconds = zip(*evaluate.parts(str(run)), strict=True)
    assert all(value >= 0 for value in seconds)
    assert [name.split(" (")[0] for name in names] == [
        "reading the images",
        "loading the SavedModel",
        "representations",
        "linear probe, all labels",
        "linear probe, 10 labels per class, 5 draws",
        "raw input",
        "linear probe of the raw input",
        "kNN, k and temperature chosen",
        "index of the training images",
        "359 queries",
    ]


def test_sources_are_read_in_turn(tmp_path):
    input.make_files(tmp_path, 8, side=64)
    assert len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.jpg"))) == 4
    sources = {
        "digits": {"name": "digits"},
        "files": {
            "name": f"folder:{tmp_path}",
            "image_size": 32,
            "memory_limit_gib": 1e-6,
        },
    }
    options = argparse.Namespace(batch_size=4, seconds=0.05, rounds=2)
    rates, first, fingerprints = input.measure(sources, options)
    assert {name: len(values) for name, values in rates.items()} == {
        "digits": 2,
        "files": 2,
    }
    assert all(min(values) > 0 for values in rates.values())
    assert all(value > 0 for value in (*first.values(), *fingerprints.values()))


def test_accuracies_of_a_run(run, capsys):
    accuracy.evaluate(str(run))
    lines = capsys.readouterr().out.splitlines()
    first, second = (json.loads(line) for line in lines if line.startswith("{"))
    assert set(first) == {"linear"} and set(second) == {"knn", "untrained"}
    assert all(0.2 < value <= 1 for value in (first | second).values())
    results = [{**first, **second, "train": 1.0, "minutes": m} for m in (2.0, 4.0)]
    assert accuracy.cells(results)[:2] == ["3.00 ± 1.41", "1.00 ± 0.00"]
    assert accuracy.cells(results[:1])[0] == "2.00"
