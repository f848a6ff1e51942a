"""The step's benchmark: its contenders, its table and its logged command."""

import argparse
import json
import sys

import pytest

from benchmarks import step, step_keras
from benchmarks.contender import ENVIRONMENT, Contender, check_same_work, read_answers
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import build_model


def test_different_work_ends_the_benchmark(capsys):
    ours = {"loss": 2.0, "gradient": 1.0}
    check_same_work(ours, {"loss": 2.0001, "gradient": 1.00005})
    with pytest.raises(SystemExit, match="do not do the same work"):
        check_same_work(ours, {"loss": 2.0, "gradient": 1.001})


def test_a_contender_answers_until_it_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "twice.py").write_text(
        "import sys\nfrom benchmarks.contender import serve\n"
        "serve({'word': sys.argv[1]}, {'twice': lambda n: {'result': 2 * n}})\n"
    )
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", str(tmp_path))
    contender = Contender(sys.executable, "twice", "hello")
    assert contender.greeting == {"word": "hello"}
    assert contender.ask("twice", 21)["result"] == 42
    assert contender.peak_bytes > 2**20
    contender.stop()


def test_answers_are_read_and_a_failure_ends_the_benchmark():
    answers = read_answers("-c", "print('{\"a\": 1}'); raise SystemExit(3)")
    assert next(answers) == {"a": 1}
    with pytest.raises(SystemExit, match="ended with status 3"):
        next(answers)


def test_the_package_trains_and_writes_its_model(tmp_path):
    options = step.make_parser().parse_args(["--batch_size=8", "--projector=16-16"])
    step.write_task(tmp_path, options)
    settings = json.loads((tmp_path / "settings.json").read_text())
    settings = Settings(**{**settings, "encoder": "tiny", "stem": "auto"})
    dataset = load_dataset(f"npz:{tmp_path / 'images.npz'}")
    model = build_model(settings, dataset, 100)
    assert step_keras.train(model, dataset, settings, 2)["seconds"] > 0
    images = dataset.train.read(range(8))
    plan = tmp_path / "plan.npz"
    numbers = step_keras.write_plan(plan, model, images, dataset, settings)
    assert numbers["loss"] > 0 and numbers["gradient"] > 0 and plan.exists()


def test_the_table_compares_medians():
    contenders = {
        name: argparse.Namespace(peak_bytes=2**30)
        for name in ("vicreg_keras, float32", "PyTorch, float32")
    }
    steps = {"vicreg_keras, float32": [1.0, 0.5, 2.0], "PyTorch, float32": [2.0]}
    views = {"vicreg_keras, float32": [0.1], "PyTorch, float32": [0.5]}
    options = argparse.Namespace(batch_size=100, precisions=("float32",))
    lines = step.table_lines(contenders, steps, views, options)
    assert lines[1:] == [
        ("vicreg_keras, float32", "100.0", "50.0", "200.0", "1,000", "2.00", "-")
        + ("10.0%", "1.00"),
        ("PyTorch, float32", "50.0", "50.0", "50.0", "2,000", "1.00", "-")
        + ("25.0%", "1.00"),
    ]


def test_the_logged_command_names_no_path_of_this_machine():
    parser = step.make_parser()
    given = "--steps 2 --torch /here/python --contiguous --log L --precisions float32"
    options = parser.parse_args(given.split())
    assert step.command(parser, options) == (
        "python -m benchmarks.step --steps 2 --precisions float32 --torch PYTHON "
        "--contiguous"
    )


def test_other_precisions_are_refused(capsys):
    with pytest.raises(SystemExit):
        step.make_parser().parse_args(["--precisions", "float32,float16"])
    assert "Received: 'float32,float16'" in capsys.readouterr().err
