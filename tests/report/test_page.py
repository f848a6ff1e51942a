"""The page: every part is there, nothing comes from outside, all text is only text."""

import base64
import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from vicreg_keras.evaluate.linear_eval import LinearEvalRecord, LinearEvalResult
from vicreg_keras.evaluate.records import to_json
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.figures.neighbors import Tile
from vicreg_keras.report.page import SECTIONS, build_report
from vicreg_keras.report.pictures import Mistake, Pictures
from vicreg_keras.workdir.run_folder import RunFolder

NASTY = ("<script>alert(1)</script>", "\"'&", "</script><b>", "{{x}}")


@pytest.fixture
def build(tmp_path, parse):
    """Writes a report, and gives its text and what a parser sees."""

    def build(runs, pictures=None):
        path = tmp_path / "page" / "report.html"
        build_report(runs, path, pictures)
        assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
        text = path.read_text("utf-8")
        return text, parse(text)

    return build


def test_every_section_is_there_and_can_be_reached(build, make_run, make_pictures):
    text, page = build([make_run()], make_pictures())
    assert text.startswith("<!DOCTYPE html>")
    (html,) = page.all("html")
    assert html.at["lang"] == "en"
    assert page.all("title")[0].text == "VICReg: sevens"
    headings = [element.text for element in page.all("h2")]
    assert headings == list(SECTIONS)
    ids = [element.at["id"] for element in page.elements if "id" in element.at]
    assert len(ids) == len(set(ids))
    links = [element.at["href"] for element in page.all("a")]
    assert links == [f"#{name.lower()}" for name in SECTIONS]
    assert {link[1:] for link in links} <= set(ids)
    assert "not run yet" not in text and "eft out" not in text
    for section, tag, count in (
        ("results", "table", 1),
        ("training", "figure", 2),
        ("collapse", "figure", 2),
        ("confusion", "table", 2),
        ("mistakes", "img", 1),
        ("retrieval", "img", 5),
        ("clusters", "canvas", 1),
        ("labels", "figure", 1),
        ("settings", "table", 1),
        ("versions", "table", 1),
    ):
        assert len(page.all(tag, inside=section)) == count, section


def test_nothing_comes_from_outside(build, make_run, make_pictures):
    text, page = build([make_run()], make_pictures())
    for element in page.elements:
        assert element.tag not in ("link", "iframe", "object", "embed", "base")
        for name, value in element.at.items():
            assert not name.startswith("on"), "a script in an attribute"
            if name == "src":
                assert value.startswith("data:image/"), value[:50]
            if name in ("href", "action", "srcset", "xlink:href"):
                assert value.startswith("#"), value
    without_images = re.sub(r"data:image/\w+;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|url\((?!#)|@import|[\"'(]//", without_images, re.I)


def test_only_the_scripts_of_the_page_may_run(build, make_run, make_pictures):
    _, page = build([make_run()], make_pictures())
    (policy,) = (
        element.at["content"]
        for element in page.all("meta")
        if element.at.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["style-src"] == "'unsafe-inline'"
    (script,) = (e for e in page.all("script") if "type" not in e.at)
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"


def test_tables_and_images_tell_what_they_are(build, make_run, make_pictures):
    _, page = build([make_run()], make_pictures())
    assert len(page.all("table")) == len(page.all("caption")) > 6
    assert all(element.at["scope"] for element in page.all("th"))
    assert all(
        element.at["alt"]
        for element in page.all("img")
        if "hidden" not in element.at  # The sheet is seen through the canvas only.
    )
    for element in page.all("svg"):
        assert element.at.get("aria-label") or element.at.get("aria-hidden") == "true"


def test_what_was_not_run_is_named_with_its_command(build, make_run):
    run = make_run("a run's", only=(), epochs=0)
    _, page = build([run])
    sections = {element.at["id"]: element.text for element in page.all("section")}
    for section, modes in {
        "results": ("linear_eval", "knn_eval", "retrieve", "cluster"),
        "training": ("pretrain",),
        "collapse": ("pretrain", "spectrum"),
        "confusion": ("evaluate",),
        "mistakes": ("evaluate",),
        "retrieval": ("retrieve", "evaluate"),
        "clusters": ("evaluate",),
        "labels": ("finetune",),
        "files": ("export --format=tflite",),
    }.items():
        for mode in modes:
            folder = str(run.path).replace("'", "'\"'\"'")
            command = f"python main.py --mode={mode} --workdir='{folder}'"
            assert f"not run yet: {command}\n" in sections[section], section
    assert not page.all("svg")


def test_the_last_line_of_a_mode_counts(build, make_run, records):
    run, record = make_run(), records[LinearEvalRecord]
    cached = record.results["encoder"].cached
    metrics = dataclasses.replace(cached.metrics, top1=0.123456)
    cached = dataclasses.replace(cached, metrics=metrics)
    results = {"encoder": LinearEvalResult(cached=cached)}
    run.append_metrics(to_json(record))
    run.append_metrics(to_json(dataclasses.replace(record, results=results)))
    _, page = build([run])
    assert page.table("results")[2][:2] == ["top-1", "12.35"]


@pytest.mark.parametrize("num_names", [len(NASTY), 25])
def test_text_from_outside_is_only_text(build, make_run, make_pictures, num_names):
    names = (*NASTY, *map(str, range(num_names - len(NASTY))))
    pictures = make_pictures(names)
    image = pictures.mistakes[0].image
    pictures = dataclasses.replace(
        pictures,
        dataset=NASTY[0],
        mistakes=[Mistake(image, NASTY[0], NASTY[1], 1.0)],
        retrieval=[(Tile(image, NASTY[1]), [Tile(image, NASTY[0], 0.5, True)])],
    )
    run = make_run("<i>&", dataset=NASTY[0], views=NASTY[1])
    text, page = build([run, make_run()], pictures)
    assert len(page.all("script")) == 2
    assert not page.all("b") and not page.all("i")
    assert text.count("alert(1)") > 5
    alts = [element.at["alt"] for element in page.all("img", inside="mistakes")]
    assert alts == [f"{NASTY[0]}, predicted as {NASTY[1]}"]
    alts = [element.at["alt"] for element in page.all("img", inside="retrieval")]
    assert alts[1] == f"near {NASTY[1]}: {NASTY[0]}, of another class"
    assert ["--dataset", NASTY[0], "sevens"] in page.table("settings")
    (data,) = (e.text for e in page.all("script") if e.at.get("type"))
    assert set(json.loads(data)["groups"]["class"]) == set(names)
    title = page.all("title")[0]
    assert title.text == "VICReg: <i>&, sevens"


def test_names_that_are_no_text(build, make_run, make_pictures):
    broken = "photo\udcff.png"
    pictures = make_pictures((broken, "b"))
    text, _ = build([make_run()], pictures)
    assert "photo?.png" in text


def test_two_runs_stand_side_by_side(build, make_run):
    runs = [
        make_run("first"),
        make_run("second", epochs=6, scale=0.5, epochs_flag="9", seed="1"),
    ]
    text, page = build(runs)
    table = page.table("results")
    assert table[0] == ["", "first", "second"]
    labels = [row[0] for row in table]
    assert "top-1, VICReg encoder" in labels and "top-1, chance" in labels
    assert all(len(row) in (1, 3) for row in table)
    settings = page.table("settings")
    assert settings == [
        ["flag", "first", "second"],
        ["--epochs_flag", "-", "9"],
        ["--seed", "0", "1"],
    ]
    same = page.table("settings", 1)
    assert ["--dataset", "sevens"] in same
    assert not any("workdir" in row[0] for row in settings + same)
    loss = page.all("svg", inside="training")[0].at["aria-label"]
    assert ", first: 38 at 1, 32 at 4." in loss
    assert ", second: 19 at 1, 15.67 at 6." in loss
    # A command for the first run only, whose pictures they would be.
    assert text.count("--mode=evaluate") == 4


def test_runs_of_the_same_name_are_told_apart(build, make_run):
    runs = [make_run("a/run"), make_run("b/run")]
    _, page = build(runs)
    assert page.table("results")[0][1:] == [str(run.path) for run in runs]


def test_pictures_say_whose_they_are(build, make_run, make_pictures):
    _, page = build([make_run("first"), make_run("second")], make_pictures())
    sections = {element.at["id"]: element.text for element in page.all("section")}
    for section in ("confusion", "mistakes", "retrieval", "clusters"):
        assert "Of the run first." in sections[section]


def test_parts_that_need_labels_are_left_out(build, make_run, make_pictures):
    pictures = dataclasses.replace(
        make_pictures(),
        class_names=None,
        confusion=None,
        mistakes=(),
        retrieval=(),
        cluster_map=dataclasses.replace(make_pictures().cluster_map, labels=None),
    )
    _, page = build([make_run(only=[SpectrumRecord])], pictures)
    sections = {element.at["id"]: element.text for element in page.all("section")}
    for section in ("confusion", "mistakes", "retrieval"):
        assert "eft out: " in sections[section]
    assert not page.all("input", inside="clusters")
    assert page.all("canvas", inside="clusters")


def test_the_same_run_gives_the_same_page(build, make_run, make_pictures):
    run = make_run()
    assert build([run], make_pictures())[0] == build([run], make_pictures())[0]


def test_two_thousand_photographs_stay_under_three_megabytes(
    build, make_run, make_pictures
):
    photograph = load_sample_image("china.jpg")  # (427, 640, 3)
    corners = [(y, x) for y in range(0, 395, 9) for x in range(0, 608, 13)]
    images = np.stack([photograph[y : y + 32, x : x + 32] for y, x in corners[:2000]])
    assert len(images) == 2000
    pictures = make_pictures(num_points=2000, side=1)
    cluster_map = dataclasses.replace(pictures.cluster_map, images=images)
    pictures = dataclasses.replace(pictures, cluster_map=cluster_map)
    text, _ = build([make_run()], pictures)
    assert 500_000 < len(text) < 3_000_000


def test_an_earlier_page_stays_where_a_section_fails(tmp_path, make_run):
    run, path = make_run(), tmp_path / "report.html"
    build_report([run], path)
    before = path.read_bytes()
    bad = Pictures("sevens", ("a", "b"), confusion=np.zeros((2, 3)))
    with pytest.raises(IndexError):
        build_report([run], path, bad)
    assert path.read_bytes() == before


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected the folder of a run.*nothing-here"):
        build_report([RunFolder(tmp_path / "nothing-here")], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
