"""Tables of numbers: those of the run's lines, in their places."""

import copy

import pytest

from vicreg_keras.report.records import read_records
from vicreg_keras.report.results import results_section, retrieval_table

HEADER = ["", "VICReg encoder", "untrained encoder", "raw input", "chance"]


@pytest.fixture
def results(make_run, parse):
    """The table of a run, a list of cells a row, with these lines changed."""

    def table(changed=(), modes=None):
        records = read_records([make_run(modes=modes, changed=changed)])
        text = f'<section id="results">{results_section(records)}</section>'
        return parse(text).table("results")

    return table


def group(table, title, number=0):
    """The heading of a group, and its rows by name."""
    starts = [i for i, row in enumerate(table) if len(row) == 1]
    start = [i for i in starts if table[i][0].startswith(title)][number]
    end = next((i for i in starts if i > start), len(table))
    return table[start][0], {row[0]: row[1:] for row in table[start + 1 : end]}


def percents(results, *path):
    """A number of each that is judged, as the table has it."""
    found = []
    for name in ("encoder", "untrained", "raw_input"):
        value = results[name]
        for key in path:
            value = value[key]
        found.append(f"{100 * value:.2f}")
    return found


def metrics(row):
    """Metrics of one mode, by what was evaluated."""
    return {name: result["metrics"] for name, result in row["results"].items()}


def test_every_number_is_in_its_place(results, rows):
    table = results()
    assert table[0] == HEADER
    linear = rows["linear_eval"]["results"]
    heading, cells = group(table, "Linear evaluation")
    assert cells["top-1"] == [*percents(linear, "cached", "top1"), "14.29"]
    assert cells["top-5"] == [*percents(linear, "cached", "top5"), "71.43"]
    assert "protocol cached" in heading and "sevens, test split, 70 images" in heading
    assert f"chosen: C {linear['encoder']['cached']['C']:g}" in heading

    heading, cells = group(table, "Linear evaluation", 1)
    assert "5 labels a class; mean and standard deviation of 2 draws" in heading
    few = linear["untrained"]["few_labels"]
    expected = f"{100 * few['top1']:.2f} ±\xa0{100 * few['top1_std']:.2f}"
    assert cells["top-1"][1] == expected
    assert cells["top-1"][3] == "14.29"

    knn = metrics(rows["knn_eval"])
    heading, cells = group(table, "k nearest neighbors")
    assert cells["top-1"] == [*percents(knn, "top1"), "14.29"]
    chosen = rows["knn_eval"]["results"]["encoder"]["settings"]["k"]
    assert f"chosen: k {chosen}, temperature" in heading

    retrieval = metrics(rows["retrieve"])
    heading, cells = group(table, "Retrieval")
    expected = [*percents(retrieval, "mean_average_precision"), "14.29"]
    assert cells["mean average precision"] == expected
    assert "70 test images search 140 training images" in heading

    clusters = metrics(rows["cluster"])
    heading, cells = group(table, "Clusters")
    expected = [*percents(clusters, "matched_accuracy"), "14.29"]
    assert cells["matched with the classes"] == expected
    rand = [f"{numbers['adjusted_rand_index']:.3f}" for numbers in clusters.values()]
    assert cells["adjusted Rand index"] == [*rand, "0.000"]
    assert cells["silhouette"][3] == "-"
    assert "7 clusters" in heading and "seed 0" in heading


def test_few_classes_have_no_top_5(results, rows):
    changed = copy.deepcopy({mode: rows[mode] for mode in ("linear_eval", "knn_eval")})
    for protocols in changed["linear_eval"]["results"].values():
        for numbers in protocols.values():
            numbers["top5"] = None
    for numbers in metrics(changed["knn_eval"]).values():
        numbers["top5"] = None
    table = results(changed)
    assert not [row for row in table if row[0] == "top-5"]
    assert len([row for row in table if row[0] == "top-1"]) == 3


def test_a_raw_input_that_was_left_out(results, rows):
    row = copy.deepcopy(rows["linear_eval"])
    row["results"]["raw_input"] = {"cached": {"protocol": "cached", "left_out": "x"}}
    _, cells = group(results({"linear_eval": row}), "Linear evaluation")
    assert cells["top-1"][2] == "-"


def test_the_augmented_protocol(results, rows):
    row = copy.deepcopy(rows["linear_eval"])
    numbers = {"top1": 0.5, "top5": 0.9, "learning_rate": 0.3, "epochs": 100}
    row["results"]["encoder"] = {"augmented": numbers}
    heading, cells = group(results({"linear_eval": row}), "Linear evaluation")
    assert "protocol augmented" in heading and "100 epochs" in heading
    assert "learning rate 0.3" in heading
    assert cells["top-1"] == ["50.00", "-", "-", "14.29"]


def test_clusters_without_labels(results, rows):
    row = copy.deepcopy(rows["cluster"])
    for numbers in metrics(row).values():
        numbers.update(dict.fromkeys(set(numbers) - {"silhouette"}))
    _, cells = group(results({"cluster": row}, modes=["cluster"]), "Clusters")
    assert list(cells) == ["silhouette"]


def test_another_protocol_of_another_run_has_rows_of_its_own(make_run, rows, parse):
    row = rows["knn_eval"] | {"dataset": "eights"}
    runs = [make_run("a"), make_run("b", changed={"knn_eval": row})]
    content = results_section(read_records(runs))
    table = parse(f'<section id="s">{content}</section>').table("s")
    (top1, *_) = group(table, "k nearest neighbors")[1].items()
    assert top1[0] == "top-1, VICReg encoder"
    assert top1[1][0] != "-" and top1[1][1] == "-"
    (top1, *_) = group(table, "k nearest neighbors", 1)[1].items()
    assert top1[1][0] == "-" and top1[1][1] != "-"
    assert "eights" in group(table, "k nearest neighbors", 1)[0]


def test_retrieval_at_every_k(make_run, rows, parse):
    (record,) = read_records([make_run()])
    table = parse(f'<section id="s">{retrieval_table(record)}</section>').table("s")
    assert table[0] == HEADER[:-1]
    measures = metrics(rows["retrieve"])
    ks = [str(k) for k in measures["encoder"]["precision"]]
    assert [row[0] for row in table[2 : 2 + len(ks)]] == ks
    _, cells = group(table, "recall at")
    assert cells["5"] == percents(measures, "recall", 5)
