"""Tests of what the step's benchmark makes of its measurements."""

import argparse
import sys

import numpy as np
import pytest

from benchmarks import step, step_keras
from benchmarks.contender import Contender, check_same_work
from benchmarks.step_ceiling import Ceiling, num_flops, title
from vicreg_keras import VICReg, make_encoder, make_projector, make_views

CONVOLUTION = {
    "kind": "convolution",
    "parts": ["forward", "by kernel"],
    "sizes": [2, 8, 3, 4, 3, 2, 1],
    "count": 2,
}
DENSE = {"kind": "dense", "parts": ["forward"], "sizes": [2, 3, 5], "count": 1}


class Library:
    """Answers as a process that times operations does."""

    def __init__(self, *answers):
        self._answers = list(answers)

    def ask(self, precision, num_calls):
        return {"seconds": self._answers.pop(0)}


def test_the_ceiling_adds_up_the_fastest_medians():
    first = Library(
        [
            {"forward": {"A": [1.0, 9.0]}, "by kernel": {"A": [4.0], "A, turned": [3]}},
            {"forward": {"A": [0.5]}},
        ],
        [
            {"forward": {"A": [1.0]}, "by kernel": {"A": [4.0], "A, turned": [3]}},
            {"forward": {"A": [0.5]}},
        ],
    )
    second = Library(
        *2
        * [
            [
                {"forward": {"B": [2.0]}, "by kernel": {"B": [5.0]}},
                {"forward": {"B": [0.25]}},
            ]
        ]
    )
    ceiling = Ceiling([CONVOLUTION, DENSE], [first, second])
    ceiling.measure("float32", 2)
    ceiling.measure("float32", 2)
    # Two views: four convolutions of 1 and 3 seconds, two dense layers of a quarter.
    assert ceiling.seconds("float32") == 4 * (1.0 + 3.0) + 2 * 0.25
    lines = ceiling.table("float32").splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == [
        "A",
        "A, turned",
        "B",
    ]
    assert title(CONVOLUTION) in lines[2]


def test_operations_are_counted():
    # 8 pixels by 2 are 4: 2 images, 4 x 4 places, 4 of 3 x 3 x 3 products and sums.
    assert num_flops(CONVOLUTION) == 2 * 2 * 16 * 4 * 27
    assert num_flops(DENSE) == 2 * 2 * 3 * 5
    assert num_flops({"kind": "covariance", "sizes": [10, 4]}) == 2 * 10 * 4 * 4
    assert num_flops({"kind": "Gram matrix", "sizes": [4, 10]}) == 2 * 4 * 4 * 10


@pytest.mark.parametrize("crop_size, side", [(None, 32), (16, 16)])
def test_a_model_is_taken_apart_into_its_products(crop_size, side):
    model = VICReg(
        make_encoder("resnet18", stem="cifar"),
        make_projector(512, (16, 8)),
        make_views("cifar", crop_size=crop_size),
    )
    images = np.zeros((6, 32, 32, 3), np.uint8)
    operations = step_keras.operations(model, images)
    by_sizes = {tuple(x["sizes"]): x for x in operations}
    first = by_sizes[6, side, 3, 64, 3, 1, 1]
    assert first["count"] == 1 and "by input" not in first["parts"]
    assert by_sizes[6, side, 64, 64, 3, 1, 1]["count"] == 4
    # Without what is padded around it.
    assert by_sizes[6, side, 64, 128, 3, 2, 1]["count"] == 1
    assert by_sizes[6, side, 64, 128, 1, 2, 0]["count"] == 1
    assert by_sizes[6, side // 8, 512, 512, 3, 1, 1]["count"] == 3
    assert sum(x["count"] for x in operations if x["kind"] == "convolution") == 20
    assert [x["sizes"] for x in operations if x["kind"] == "dense"] == [
        [6, 512, 16],
        [6, 16, 8],
    ]
    assert operations[-1]["kind"] == "covariance"


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
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    contender = Contender(sys.executable, "twice", "hello")
    assert contender.greeting == {"word": "hello"}
    assert contender.ask("twice", 21)["result"] == 42
    assert contender.peak_bytes > 2**20
    contender.stop()


def test_the_table_compares_medians():
    contenders = {
        name: argparse.Namespace(peak_bytes=2**30)
        for name in ("vicreg_keras, float32", "PyTorch, float32")
    }
    ceiling = argparse.Namespace(seconds=lambda precision: 0.5)
    steps = {"vicreg_keras, float32": [1.0, 0.5, 2.0], "PyTorch, float32": [2.0]}
    views = {"vicreg_keras, float32": [0.1], "PyTorch, float32": [0.5]}
    options = argparse.Namespace(batch_size=100, precisions=("float32",))
    rows = step.table_rows(contenders, ceiling, steps, views, options)
    assert rows[1:] == [
        ("vicreg_keras, float32", "100.0", "50.0", "200.0", "1,000", "2.00", "-")
        + ("50%", "10.0%", "1.00"),
        ("PyTorch, float32", "50.0", "50.0", "50.0", "2,000", "1.00", "-")
        + ("25%", "25.0%", "1.00"),
        ("ceiling, float32", "200.0", "200.0", "200.0", "500", "4.00", "-")
        + ("100%", "-", "-"),
    ]


def test_the_logged_command_names_no_path_of_this_machine():
    parser = step.make_parser()
    given = "--steps 2 --torch /here/python --verbose --log L --precisions float32"
    options = parser.parse_args(given.split())
    assert step.command(parser, options) == (
        "python -m benchmarks.step --steps 2 --precisions float32 --torch PYTHON "
        "--verbose"
    )


def test_other_precisions_are_refused(capsys):
    with pytest.raises(SystemExit):
        step.make_parser().parse_args(["--precisions", "float32,float16"])
    assert "Received: 'float32,float16'" in capsys.readouterr().err
