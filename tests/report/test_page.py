"""The page: every part is there, nothing comes from outside, all text is only text."""

import base64
import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from vicreg_keras.evaluate.finetune import FinetuneRecord
from vicreg_keras.evaluate.linear_eval import LinearEvalRecord, LinearEvalResult
from vicreg_keras.evaluate.records import PretrainRecord, to_json
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.report.page import build_report
from vicreg_keras.workdir.run_folder import RunFolder

NASTY = ("<script>alert(1)</script>", "\"'&", "</script><b>", "{{x}}")
SECTIONS = (
    "Results",
    "Training",
    "Collapse",
    "Linear",
    "Neighbors",
    "Clusters",
    "Labels",
    "Files",
    "Data",
    "Settings",
    "Versions",
)


@pytest.fixture
def build(tmp_path, parse):
    """Writes a report, and gives its text and what a parser sees."""

    def build(runs, cluster_map=None):
        path = tmp_path / "page" / "report.html"
        build_report(runs, path, cluster_map)
        assert list(path.parent.iterdir()) == [path]  # Nothing unfinished beside it.
        text = path.read_text("utf-8")
        return text, parse(text)

    return build


@pytest.fixture
def full_page(build, make_run, draw_examples, make_map):
    """A page with everything: its text and what a parser sees."""
    return build([draw_examples(make_run())], make_map())


def descriptions(page, inside):
    """The text alternatives of a section's figures."""
    return [e.at["alt"] for e in page.all("img", inside) if "hidden" not in e.at]


def test_every_section_is_there_and_can_be_reached(full_page):
    text, page = full_page
    assert text.startswith("<!DOCTYPE html>")
    (html,) = page.all("html")
    assert html.at["lang"] == "en"
    assert page.all("title")[0].text == "VICReg: sevens"
    assert "sevens: tiny on sevens, 4 epochs, 6.0 minutes, without labels." in text
    assert [element.text for element in page.all("h2")] == list(SECTIONS)
    ids = [element.at["id"] for element in page.elements if "id" in element.at]
    assert len(ids) == len(set(ids))
    links = [element.at["href"] for element in page.all("a")]
    assert links == [f"#{name.lower()}" for name in SECTIONS]
    assert {link[1:] for link in links} <= set(ids)
    assert "not run yet" not in text
    for section, num_tables, num_figures in (
        ("results", 1, 0),
        ("training", 0, 2),
        ("collapse", 1, 2),
        ("linear", 1, 2),
        ("neighbors", 2, 1),
        ("clusters", 1, 1),
        ("labels", 1, 1),
        ("files", 1, 1),
        ("settings", 1, 0),
        ("versions", 1, 0),
    ):
        assert len(page.all("table", section)) == num_tables, section
        assert len(page.all("figure", section)) == num_figures, section
    assert len(page.all("canvas", "clusters")) == 1


def test_nothing_comes_from_outside(full_page):
    text, page = full_page
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


def test_only_the_scripts_of_the_page_may_run(full_page):
    _, page = full_page
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


def test_tables_and_images_tell_what_they_are(full_page):
    _, page = full_page
    assert len(page.all("table")) == len(page.all("caption")) > 6
    assert all(element.at["scope"] for element in page.all("th"))
    assert all(
        element.at["alt"]
        for element in page.all("img")
        if "hidden" not in element.at  # The sheet is seen through the canvas only.
    )
    (svg,) = page.all("svg")
    assert "Map of 70 images" in svg.at["aria-label"]


def test_figures_are_described(full_page, records):
    _, page = full_page
    loss, accuracy = descriptions(page, "training")
    assert "(weighted sum), training: 38 at 1, 32 at 4." in loss
    assert "(weighted sum), validation: 41.8 at 1, 35.2 at 4." in loss
    assert "learning rate, training: 0.001 at 1, 0.00025 at 4." in loss
    assert "140 neighbors to choose from: 30 at 1.5, 60 at 6." in accuracy
    curves, spectra = descriptions(page, "collapse")
    assert "training: 0.3 at 1, 0.525 at 4" in curves
    first = records[SpectrumRecord].results["encoder"].eigenvalues[0]
    assert f": {first:.4g} at 1" in spectra and "untrained encoder" in spectra
    confusion, mistakes = descriptions(page, "linear")
    assert "percent of" in confusion and "plane as 98.77 %" not in confusion
    assert mistakes == "Wrong. plane as car, 98.77 %"
    (labels,) = descriptions(page, "labels")
    low, high = (100 * one.metrics.top1 for one in records[FinetuneRecord].finetuned)
    assert f"pretrained, fine-tuned: {low:.4g} at 14, {high:.4g} at 140." in labels
    assert "chance: 14.29" in labels


def test_diagnosis_is_displayed(build, make_run, records):
    record = records[SpectrumRecord]
    _, page = build([make_run()])
    (healthy,) = (e for e in page.all("p", "collapse") if "class" in e.at)
    assert healthy.text == f"Healthy. {record.diagnoses[0].text}"
    assert healthy.at["class"] == "diagnosis"
    state = {"state": "full collapse", "text": "All the same."}
    diagnosis = dataclasses.replace(record.diagnoses[0], **state)
    record = dataclasses.replace(record, diagnoses=(diagnosis,))
    _, page = build([make_run("b", changed=[record])])
    (collapsed,) = (e for e in page.all("p", "collapse") if "class" in e.at)
    assert collapsed.text == "Full collapse. All the same."
    assert "collapsed" in collapsed.at["class"]


def test_what_was_not_run_is_named_with_its_command(build, make_run):
    run = make_run("a run's", only=(), epochs=0)
    _, page = build([run])
    sections = {element.at["id"]: element.text for element in page.all("section")}
    for section, modes in {
        "results": ("evaluate",),
        "training": ("pretrain",),
        "collapse": ("spectrum",),
        "linear": ("linear_eval",),
        "neighbors": ("knn_eval", "retrieve"),
        "clusters": ("cluster",),
        "labels": ("finetune",),
        "files": ("export --format=tflite",),
    }.items():
        for mode in modes:
            folder = str(run.path).replace("'", "'\"'\"'")
            command = f"python main.py --mode={mode} --workdir='{folder}'"
            assert f"not run yet: {command}\n" in sections[section], section
    assert not page.all("img")


def test_the_last_line_of_a_mode_counts(build, make_run, records):
    run, record = make_run(), records[LinearEvalRecord]
    cached = record.results["encoder"].cached
    metrics = dataclasses.replace(cached.metrics, top1=0.123456)
    cached = dataclasses.replace(cached, metrics=metrics)
    results = {"encoder": LinearEvalResult(cached=cached)}
    run.append_metrics(to_json(record))
    run.append_metrics(to_json(dataclasses.replace(record, results=results)))
    _, page = build([run])
    assert page.table("results")[1][:2] == ["linear top-1, cached", "12.35"]
    assert page.table("linear")[-1][2] == "12.35"


def test_text_from_outside_is_only_text(build, make_run, draw_examples, make_map):
    run = make_run("<i>&", dataset=NASTY[0], views=NASTY[1])
    draw_examples(run, NASTY)
    cluster_map = make_map(len(NASTY), texts=NASTY)
    text, page = build([run, make_run()], cluster_map)
    assert len(page.all("script")) == 2
    assert not page.all("b") and not page.all("i")
    assert text.count("alert(1)") > 3
    assert NASTY[0] in descriptions(page, "linear")[0]
    assert ["dataset", NASTY[0], "sevens"] in page.table("settings")
    (data,) = (e.text for e in page.all("script") if e.at.get("type"))
    assert json.loads(data)["texts"] == list(NASTY)
    assert page.all("title")[0].text == "VICReg: <i>&, sevens"


def test_names_that_are_no_text(build, make_run, make_map):
    path = make_run("photo").path
    run = RunFolder(path.rename(path.with_name("photo\udcff")))
    with pytest.warns(UserWarning, match="data.json is missing"):
        _, page = build([run], make_map(1, texts=["\udcff"]))
    assert page.all("title")[0].text == "VICReg: photo?"


def test_two_runs_stand_side_by_side(build, make_run, draw_examples):
    runs = [
        draw_examples(make_run("first")),
        make_run("second", epochs=6, scale=0.5, epochs_flag="9", seed="1"),
        make_run("third", epochs=0, only=()),
    ]
    _, page = build(runs)
    assert page.table("results")[0] == ["", "first", "second"]
    assert {len(line) for line in page.table("results")} == {3}
    assert page.table("settings") == [
        ["", "first", "second", "third"],
        ["epochs_flag", "-", "9", "-"],
        ["seed", "0", "1", "0"],
    ]
    same = page.table("settings", 1)
    assert ["dataset", "sevens", "sevens", "sevens"] in same
    assert not any("workdir" in line[0] for line in same)
    loss, accuracy = descriptions(page, "training")
    assert ", first: 38 at 1, 32 at 4." in loss
    assert ", second: 19 at 1, 15.67 at 6." in loss
    assert ", third" not in loss and ", third" not in accuracy
    _, spectra = descriptions(page, "collapse")
    assert "untrained" not in spectra and ", first, trained encoder: " in spectra
    (labels,) = descriptions(page, "labels")
    assert ", second, pretrained, fine-tuned: " in labels and "scratch" not in labels
    captions = [element.text for element in page.all("caption", "linear")]
    assert [text.split(":")[0] for text in captions] == ["first", "second"]
    # What a run has drawn of examples says whose it is.
    assert [e.text for e in page.all("figcaption", "linear")] == ["first", "first"]
    diagnoses = [e.text for e in page.all("p", "collapse") if "class" in e.at]
    assert diagnoses[0].startswith("first: Healthy.")
    assert diagnoses[2].startswith("third: not run yet: python main.py --mode=spectrum")


def test_runs_of_the_same_name_are_told_apart(build, make_run):
    runs = [make_run("a/run"), make_run("b/run")]
    _, page = build(runs)
    assert page.table("results")[0][1:] == [str(run.path) for run in runs]


def test_training_without_knn_accuracy_and_validation(build, make_run):
    run = make_run(epochs=0, only=())
    record = PretrainRecord(
        dataset="sevens", seed=0, epoch=1, step=1, minutes=1.0, metrics={"loss": 2.0}
    )
    run.append_metrics(to_json(record))
    _, page = build([run])
    expected = ["loss (weighted sum), training: 2 at 1, 2 at 1."]
    assert descriptions(page, "training") == expected
    assert not descriptions(page, "collapse")


def test_flags_and_versions(build, make_run):
    first, second = make_run("first", views="cifar"), make_run("second")
    second.write_environment(devices=["/GPU:0", "/GPU:1"], jobs=None)
    _, page = build([first])
    assert page.table("settings") == [
        ["", "first"],
        ["dataset", "sevens"],
        ["encoder", "tiny"],
        ["epochs", "4"],
        ["seed", "0"],
        ["views", "cifar"],
        ["workdir", str(first.path)],
    ]
    _, page = build([first, second])
    table = page.table("versions")
    assert table[0] == ["", "first", "second"]
    assert ["precision", "float32", "-"] in table
    assert ["jobs", "-", "None"] in table
    (devices,) = (line for line in table if line[0] == "devices")
    assert devices[2] == "/GPU:0, /GPU:1"


def test_a_folder_where_nothing_was_trained(build, make_run):
    run = make_run(epochs=0)
    run.flags.unlink()
    run.environment.unlink()
    _, page = build([run])
    for section in ("settings", "versions"):
        assert "There are none." in page.all("p", section)[0].text


def test_the_same_run_gives_the_same_page(build, make_run, make_map):
    run = make_run()
    assert build([run], make_map())[0] == build([run], make_map())[0]


def test_two_thousand_photographs_stay_under_three_megabytes(build, make_run, make_map):
    photograph = load_sample_image("china.jpg")  # (427, 640, 3)
    corners = [(y, x) for y in range(0, 395, 9) for x in range(0, 608, 13)]
    images = np.stack([photograph[y : y + 32, x : x + 32] for y, x in corners[:2000]])
    assert len(images) == 2000
    text, _ = build([make_run()], make_map(2000, images=images))
    assert 500_000 < len(text) < 3_000_000


def test_an_earlier_page_stays_where_a_section_fails(tmp_path, make_run, monkeypatch):
    run, path = make_run(), tmp_path / "report.html"
    build_report([run], path)
    before = path.read_bytes()
    monkeypatch.delattr("vicreg_keras.report.page.read_figure")
    with pytest.raises(NameError, match="read_figure"):
        build_report([run], path)
    assert path.read_bytes() == before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected the folder of a run.*nothing-here"):
        build_report([RunFolder(tmp_path / "nothing-here")], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
