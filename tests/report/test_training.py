"""Curves of training, signs of collapse, and accuracy over labels."""

import copy

import pytest

from vicreg_keras.report.label_efficiency import labels_section
from vicreg_keras.report.records import read_records
from vicreg_keras.report.training import collapse_section, training_section


@pytest.fixture
def see(parse):
    """The parsed section of these runs, and what its charts say of themselves."""

    def see(section, *runs):
        text = f'<section id="s">{section(read_records(runs))}</section>'
        page = parse(text)
        charts = [
            element.at["aria-label"]
            for element in page.all("svg")
            if element.at.get("role") == "img"
        ]
        return page, charts

    return see


def test_every_term_over_epochs(see, make_run):
    page, charts = see(training_section, make_run())
    assert [chart.split(" by epoch. ")[0] for chart in charts] == [
        "Loss, weighted sum of its terms",
        "Invariance",
        "Variance (hinge)",
        "Covariance",
        "Learning rate",
        "kNN top-1, percent (140 images vote)",
    ]
    assert charts[0].endswith(
        "training: 38 at 1, 32 at 4. held out: 41.8 at 1, 35.2 at 4."
    )
    assert charts[4].endswith("training: 0.001 at 1, 0.00025 at 4.")
    assert charts[5].endswith("held out: 30 at 1, 60 at 4.")
    assert "k 20, temperature 0.07" in page.all("p")[0].text


def test_without_a_knn_score_and_without_held_out_images(see, make_run):
    run = make_run(epochs=0)
    kept = {"mode": "pretrain", "epoch": 1, "step": 1, "minutes": 1.0, "loss": 2.0}
    run.append_metrics(kept)
    _, charts = see(training_section, run)
    assert charts == [
        "Loss, weighted sum of its terms by epoch. training: 2 at 1, 2 at 1."
    ]


def test_a_run_without_training_among_others(see, make_run):
    page, charts = see(training_section, make_run("a"), make_run("b", epochs=0))
    assert all("a: " in chart and "b: " not in chart for chart in charts)
    (missing,) = (p for p in page.all("p") if p.at.get("class") == "missing")
    assert missing.text.startswith("b: not run yet: python main.py --mode=pretrain")


def test_the_verdict_and_the_dials(see, make_run, rows):
    page, charts = see(collapse_section, make_run())
    assert (
        page.all("p")[0].text == f"Healthy. {rows['spectrum']['diagnoses'][0]['text']}"
    )
    assert page.all("p")[0].at["class"] == "diagnosis"
    assert "training: 0.3 at 1, 0.525 at 4" in charts[0]
    first = rows["spectrum"]["results"]["encoder"]["eigenvalues"][0]
    assert f"VICReg encoder: {first:.4g} at 1" in charts[1]
    table = page.table("s")
    assert table[0] == ["", "VICReg encoder", "untrained encoder"]
    numbers = rows["spectrum"]["results"]
    expected = [f"{numbers[name]['rankme']:.1f}" for name in ("encoder", "untrained")]
    assert table[1] == ["RankMe", *expected]
    assert "140 images, sevens, train split; seed 0" in page.all("caption")[0].text


def test_a_collapse_looks_otherwise(see, make_run, rows):
    row = copy.deepcopy(rows["spectrum"])
    row["diagnoses"][0] |= {"state": "full collapse", "text": "All the same."}
    row["results"]["encoder"]["eigenvalues"] = [0.0] * 12
    page, charts = see(collapse_section, make_run(changed={"spectrum": row}))
    assert page.all("p")[0].text == "Full collapse. All the same."
    assert "collapsed" in page.all("p")[0].at["class"]
    assert "VICReg encoder" not in charts[1]


def test_ranks_over_epochs_where_they_were_measured(see, make_run):
    run = make_run(epochs=0, modes=())
    for epoch in (1, 2):
        row = {"mode": "pretrain", "epoch": epoch, "embedding_std": 0.5}
        run.append_metrics(row | {"rankme": 10.0 * epoch, "effective_rank": 5.0})
    _, charts = see(collapse_section, run)
    assert charts[1].startswith("RankMe by epoch. training: 10 at 1, 20 at 2.")
    assert charts[2].startswith("Effective rank of the covariance by epoch.")


def test_spectra_of_two_runs(see, make_run):
    page, charts = see(collapse_section, make_run("a"), make_run("b"))
    assert page.all("p")[0].text.startswith("a: Healthy.")
    assert page.all("p")[1].text.startswith("b: Healthy.")
    assert "untrained" not in charts[1] and "a: " in charts[1] and "b: " in charts[1]
    assert page.table("s")[0][1::2] == ["a, VICReg encoder", "b, VICReg encoder"]


def test_accuracy_over_labels(see, make_run, rows):
    page, charts = see(labels_section, make_run())
    results = rows["finetune"]["results"]
    low, high = (100 * numbers["top1"] for numbers in results["finetuned"])
    assert f"pretrained, fine-tuned: {low:.4g} at 14, {high:.4g} at 140." in charts[0]
    table = page.table("s")
    assert [row[0] for row in table] == ["labels", "14 (10 %)", "140 (100 %)"]
    scratch = [f"{100 * numbers['top1']:.2f}" for numbers in results["scratch"]]
    assert [row[3] for row in table[1:]] == scratch
    assert "chance" in [element.text.strip() for element in page.all("li")]


def test_accuracy_over_labels_of_two_runs(see, make_run):
    runs = [make_run("a"), make_run("b"), make_run("c", modes=())]
    page, charts = see(labels_section, *runs)
    assert "a: " in charts[0] and "b: " in charts[0] and "scratch" not in charts[0]
    assert [element.text for element in page.all("h3")] == ["a", "b"]
    assert page.all("p")[0].text.startswith("c: not run yet")
