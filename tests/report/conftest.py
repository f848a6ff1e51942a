"""Runs to report: folders whose lines the evaluations themselves have written."""

import functools
import html.parser
import types

import numpy as np
import pytest

from vicreg_keras.evaluate import linear_eval
from vicreg_keras.evaluate.clustering import cluster_eval
from vicreg_keras.evaluate.collapse import diagnose_collapse
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.few_labels import few_label_probe, frozen_probe
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.projection import ProjectionSettings
from vicreg_keras.evaluate.records import from_json, to_json
from vicreg_keras.evaluate.retrieval import retrieval_eval
from vicreg_keras.evaluate.spectrum import SpectrumResult, spectrum
from vicreg_keras.figures.neighbors import Tile
from vicreg_keras.report.pictures import ClusterMap, Mistake, Pictures
from vicreg_keras.workdir.run_folder import RunFolder

CLASS_NAMES = ("plane", "car", "bird", "cat", "deer", "dog", "frog")
SUBJECTS = {"encoder": 3.0, "untrained": 1.0, "raw_input": 0.5}


@functools.cache
def _splits(distance, width=12):
    """Training, held-out and test features, classes lying so far apart."""
    random = np.random.default_rng(0)
    num_classes = len(CLASS_NAMES)
    middles = distance * random.normal(size=(num_classes, width))
    splits = []
    for count in (140, 42, 70):
        labels = np.arange(count, dtype=np.int64) % num_classes
        rows = middles[labels] + random.normal(size=(count, width))
        splits.append(Features(rows.astype(np.float32), labels))
    return splits


def flat(result):
    numbers = to_json(result)
    return numbers["metrics"] | numbers["settings"]


@functools.cache
def _rows():
    """One line a mode, by mode."""
    size = {"num_classes": len(CLASS_NAMES)}
    linear, neighbors, retrieval, clusters, spectra = {}, {}, {}, {}, {}
    for name, distance in SUBJECTS.items():
        splits = _splits(distance)
        train, _, test = splits
        few = {"labels_per_class": 5, "num_draws": 2, "seed": 0}
        linear[name] = {
            "cached": flat(linear_probe(*splits, **size)),
            "few_labels": flat(few_label_probe(train, test, **size, **few)),
        }
        neighbors[name] = to_json(knn_eval(*splits, **size))
        retrieval[name] = to_json(retrieval_eval(train, test, **size, verbose=0))
        clusters[name] = to_json(cluster_eval(test, **size).result)
        if name != "raw_input":
            spectra[name] = to_json(spectrum(train.representations))
    splits = _splits(SUBJECTS["encoder"])
    train, _, test = splits
    dataset = types.SimpleNamespace(train=train, test=test, **size)
    linear["chance"] = {"chance": to_json(linear_eval.chance(dataset))}
    own = {"file": "the encoder", "bytes": 4096, "milliseconds": 2.5}
    own |= {"linear_top1": 0.9, "knn_top1": 0.8, "num_test": 70}
    int8 = own | {"file": "int8.tflite", "bytes": 1024, "milliseconds": 0.5}
    int8 |= {"linear_top1": 0.89, "max_difference": 0.25, "mean_difference": 0.01}
    int8 |= {"min_cosine": 0.98765, "max_number": 7.5, "num_compared": 64}
    exported = [own, int8]
    tuned = {name: [] for name in ("frozen", "finetuned", "scratch")}
    for fraction in (0.1, 1.0):
        numbers = flat(frozen_probe(*splits, **size, label_fraction=fraction))
        numbers["num_labeled"] = numbers["num_train"]
        for name, lead in zip(tuned, (0.0, 0.05, -0.1), strict=True):
            # What is read of fine-tuning has the same names.
            tuned[name].append(numbers | {"top1": numbers["top1"] * 0.9 + lead})
    common = {"dataset": "sevens", "encoder": "encoder", "seed": 0}
    counts = {"num_train": 140, "num_validation": 42, "num_test": 70, **size}
    metrics = from_json(SpectrumResult, spectra["encoder"]).metrics
    found = to_json(diagnose_collapse(metrics, kind="representation"))
    test = common | {"split": "test"}
    return {
        "linear_eval": test | counts | {"protocol": "cached", "results": linear},
        "knn_eval": test | {"results": neighbors},
        "retrieve": test | {"results": retrieval},
        "export": {"dataset": "sevens", "seed": 0, "paths": {}, "files": exported},
        "finetune": test | {"results": tuned},
        "cluster": test | {"results": clusters},
        "spectrum": common
        | {"split": "train", "results": spectra, "diagnoses": [found]},
    }


def _epochs(count, scale):
    for epoch in range(1, count + 1):
        terms = {
            "loss": scale * (30 + 8 / epoch),
            "invariance_loss": 0.2,
            "variance_loss": 0.4 + 0.3 / epoch,
            "covariance_loss": 4 - 2 / epoch,
            "embedding_std": 0.6 - 0.3 / epoch,
        }
        yield {
            "mode": "pretrain",
            "epoch": epoch,
            "step": 100 * epoch,
            "minutes": 1.5 * epoch,
            "learning_rate": 1e-3 / epoch,
            **terms,
            **{f"val_{name}": 1.1 * value for name, value in terms.items()},
            "knn_top1": 0.7 - 0.4 / epoch,
            "knn_bank": 140.0,
        }


class Page(html.parser.HTMLParser):
    """A page as a browser would see it, as far as tests ask.

    Attributes:
        elements: name, attributes and text of each, in the order of the page. The text
            is all that is inside it.
    """

    _VOID = ("meta", "img", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open, "elements that are not closed"

    def handle_starttag(self, tag, attributes):
        element = types.SimpleNamespace(tag=tag, text="", **{"at": dict(attributes)})
        element.inside = [outer.at.get("id") for outer in self._open]
        self.elements.append(element)
        if tag not in self._VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self._open.pop()

    def handle_endtag(self, tag):
        assert self._open and self._open.pop().tag == tag, f"a stray </{tag}>"

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, tag, inside=None):
        """Elements of a name, on the page or inside the one with this id."""
        return [
            element
            for element in self.elements
            if element.tag == tag and (inside is None or inside in element.inside)
        ]

    def table(self, inside, number=0):
        """Cells of a table by row: lists of text, the header first."""
        tables = [e for e in self.elements if e.tag == "table" and inside in e.inside]
        start = self.elements.index(tables[number])
        rows = []
        for element in self.elements[start + 1 :]:
            if element.tag in ("table", "section"):
                break
            if element.tag == "tr":
                rows.append([])
            elif element.tag in ("td", "th"):
                rows[-1].append(element.text)
        return rows


@pytest.fixture
def rows():
    """The line that each mode leaves, by mode."""
    return _rows()


@pytest.fixture
def make_run(tmp_path):
    """A function that makes the folder of a run with lines of these modes."""

    def make(name="sevens", modes=None, epochs=4, scale=1.0, changed=(), **settings):
        run = RunFolder(tmp_path / name)
        run.create()
        given = {"dataset": "sevens", "encoder": "tiny", "seed": "0", "epochs": "4"}
        run.claim(given | {"workdir": str(run.path)} | settings)
        run.write_environment(precision="float32", seed=0)
        for row in _epochs(epochs, scale):
            run.append_metrics(row)
        known = _rows() | dict(changed)
        for mode in known if modes is None else modes:
            run.append_metrics({"mode": mode, **known[mode]})
        return run

    return make


@pytest.fixture
def parse():
    """Makes a `Page` of text, and fails where elements are not closed."""
    return Page


@pytest.fixture
def make_pictures():
    """A function that makes pictures of classes with these names."""

    def make(class_names=CLASS_NAMES, num_points=70, side=32):
        random = np.random.default_rng(0)
        num_classes = len(class_names)
        shape = (num_points, side, side, 3)
        images = random.integers(0, 256, shape, np.uint8)
        labels = np.arange(num_points) % num_classes
        angles = 2 * np.pi * labels / num_classes
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points += 0.1 * random.normal(size=points.shape)
        tiles = [
            Tile(image, class_names[label], 0.1 * number, number == 3)
            for number, (image, label) in enumerate(zip(images, labels, strict=True))
        ]
        return Pictures(
            dataset="sevens",
            class_names=class_names,
            confusion=np.eye(num_classes, dtype=np.int64) * 8 + 1,
            mistakes=[Mistake(images[0], class_names[0], class_names[1], 0.9876)],
            retrieval=[(tiles[0]._replace(distance=None), tiles[1:5])],
            cluster_map=ClusterMap(
                points=points,
                assignments=np.roll(labels, 1),
                images=images,
                labels=labels,
                settings=ProjectionSettings(
                    method="tsne",
                    num_examples=num_points,
                    num_centroids=0,
                    representation_size=8,
                    l2_normalized=True,
                    seed=0,
                    seconds=1.0,
                    perplexity=30.0,
                ),
            ),
        )

    return make
