"""Flags and versions: all of one run's, of several those that differ."""

import pytest

from vicreg_keras.report.runs import read_runs
from vicreg_keras.report.settings import settings_section, versions_section


@pytest.fixture
def see(parse):
    """The parsed section of these runs."""

    def see(section, *runs):
        return parse(f'<section id="s">{section(read_runs(runs))}</section>')

    return see


def test_all_flags_of_one_run(see, make_run):
    run = make_run(views="cifar")
    assert see(settings_section, run).table("s") == [
        ["flag", "value"],
        ["--dataset", "sevens"],
        ["--encoder", "tiny"],
        ["--epochs", "4"],
        ["--seed", "0"],
        ["--views", "cifar"],
        ["--workdir", str(run.path)],
    ]


def test_runs_of_the_same_flags(see, make_run):
    page = see(settings_section, make_run("a"), make_run("b"))
    assert page.all("p")[0].text == "The runs have the same flags."
    assert len(page.table("s")) == 5


def test_runs_without_a_flag_in_common(see, make_run):
    runs = make_run("a"), make_run("b", dataset="x", encoder="y", seed="1", epochs=2)
    runs[1].flags.write_text("--views=paper\n")
    page = see(settings_section, *runs)
    assert ["--views", "-", "paper"] in page.table("s")
    assert not page.all("details")


def test_versions_of_two_runs(see, make_run):
    first, second = make_run("a"), make_run("b")
    second.write_environment(devices=["/GPU:0", "/GPU:1"], jobs=None)
    table = see(versions_section, first, second).table("s")
    assert table[0] == ["", "a", "b"]
    assert ["precision", "float32", "-"] in table
    assert ["jobs", "-", "-"] in table
    (devices,) = (row for row in table if row[0] == "devices")
    assert devices[2] == "/GPU:0, /GPU:1"


def test_a_folder_where_nothing_was_trained(see, make_run):
    run = make_run(epochs=0)
    run.flags.unlink()
    run.environment.unlink()
    for section in (settings_section, versions_section):
        (line,) = see(section, run).all("p")
        assert "nothing was trained here" in line.text
