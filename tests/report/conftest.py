"""Runs to report: folders with records as the evaluations return them."""

import dataclasses
import functools
import html.parser
import types

import numpy as np
import pytest

from vicreg_keras.evaluate.clustering import ClusterRecord, cluster_eval
from vicreg_keras.evaluate.collapse import diagnose_collapse
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.few_labels import few_label_probe
from vicreg_keras.evaluate.finetune import (
    FinetuneMetrics,
    FinetuneRecord,
    FinetuneResult,
    FinetuneSettings,
)
from vicreg_keras.evaluate.knn import KnnEvalRecord, knn_eval
from vicreg_keras.evaluate.linear_eval import (
    LinearEvalRecord,
    LinearEvalResult,
    chance,
)
from vicreg_keras.evaluate.linear_probe import linear_probe
from vicreg_keras.evaluate.projection import Projection, ProjectionSettings
from vicreg_keras.evaluate.records import (
    Differences,
    ExportedFile,
    ExportRecord,
    PretrainRecord,
    to_json,
)
from vicreg_keras.evaluate.retrieval import RetrieveRecord, retrieval_eval
from vicreg_keras.evaluate.spectrum import SpectrumRecord, spectrum
from vicreg_keras.figures.clusters import cluster_map, positions
from vicreg_keras.figures.examples import Tile, confusion, mistake_grid, neighbor_grid
from vicreg_keras.figures.style import save, to_png
from vicreg_keras.report.page import ClusterMap
from vicreg_keras.workdir.run_folder import RunFolder

CLASS_NAMES = ("plane", "car", "bird", "cat", "deer", "dog", "frog")
DISTANCES = {"encoder": 3.0, "untrained": 1.0, "raw_input": 0.5}
PROJECTION = ProjectionSettings(
    method="tsne",
    num_examples=70,
    num_centroids=0,
    l2_normalized=True,
    seed=0,
    perplexity=30.0,
)


@functools.cache
def _splits(distance, width=12):
    """Training, validation and test features, with classes that far apart."""
    random = np.random.default_rng(0)
    num_classes = len(CLASS_NAMES)
    centers = distance * random.normal(size=(num_classes, width))
    splits = []
    for count in (140, 42, 70):
        labels = np.arange(count, dtype=np.int64) % num_classes
        representations = centers[labels] + random.normal(size=(count, width))
        splits.append(Features(representations.astype(np.float32), labels))
    return splits


@functools.cache
def _records():
    """One record of each type, by type."""
    size = {"num_classes": len(CLASS_NAMES)}
    linear, neighbors, retrieval, clusters, spectra = {}, {}, {}, {}, {}
    for name, distance in DISTANCES.items():
        splits = _splits(distance)
        train, _, test = splits
        few = few_label_probe(train, test, **size, labels_per_class=5, num_draws=2)
        cached = linear_probe(*splits, **size)
        linear[name] = LinearEvalResult(cached=cached, few_labels=few)
        neighbors[name] = knn_eval(*splits, **size)
        retrieval[name] = retrieval_eval(train, test, **size)
        clusters[name] = cluster_eval(test, **size).result
        if name != "raw_input":
            spectra[name] = spectrum(train.representations)
    splits = _splits(DISTANCES["encoder"])
    train, _, test = splits
    dataset = types.SimpleNamespace(train=train, test=test, class_names=CLASS_NAMES)
    common = {"dataset": "sevens", "encoder": "encoder", "seed": 0}
    sizes = {"num_train": 140, "num_validation": 42, "num_test": 70, "split": "test"}
    sizes |= size
    found = diagnose_collapse(spectra["encoder"], kind="representation")
    records = [
        LinearEvalRecord(
            **common,
            **sizes,
            protocol="cached",
            chance=chance(dataset),
            results=linear,
        ),
        KnnEvalRecord(**common, split="test", results=neighbors),
        RetrieveRecord(
            **common,
            **size,
            split="test",
            num_database=140,
            num_queries=70,
            index="Flat",
            search_parameters="",
            num_neighbors=5,
            results=retrieval,
        ),
        ClusterRecord(**common, split="test", results=clusters),
        SpectrumRecord(
            **common,
            split="train",
            num_examples=140,
            representation_size=12,
            results=spectra,
            diagnoses=(found,),
        ),
        ExportRecord(**common, paths={}, files=_exported_files()),
        _finetune_record(splits, common | sizes),
    ]
    return {type(record): record for record in records}


def _exported_files():
    """The encoder and one file, with what each costs."""
    own = ExportedFile(
        file="the encoder",
        num_bytes=4096,
        milliseconds=2.5,
        linear_top1=0.9,
        knn_top1=0.8,
        num_test=70,
    )
    int8 = dataclasses.replace(
        own,
        file="int8.tflite",
        description="weights in int8",
        num_bytes=1024,
        milliseconds=0.5,
        linear_top1=0.89,
        differences=Differences(
            max_difference=0.25,
            mean_difference=0.01,
            min_cosine=0.98765,
            max_value=7.5,
            num_examples=64,
        ),
    )
    return own, int8


def _finetune_record(splits, common):
    """Accuracies of frozen probes, which stand for those of fine-tuning as well."""
    num_classes = common["num_classes"]
    frozen = [
        linear_probe(*splits, num_classes=num_classes, label_fraction=part)
        for part in (0.1, 1.0)
    ]
    arms = {}
    for arm, lead in (("finetuned", 0.05), ("scratch", -0.1)):
        arms[arm] = tuple(
            FinetuneResult(
                FinetuneMetrics(
                    top1=0.9 * one.metrics.top1 + lead,
                    validation_top1=0.5,
                    validation_log_loss=0.5,
                    train_loss=0.5,
                ),
                FinetuneSettings(
                    encoder_learning_rate=0.1,
                    head_learning_rate=0.1,
                    label_fraction=one.settings.label_fraction,
                    num_train=one.settings.num_train,
                    epochs=1,
                    num_steps=1,
                    seed=0,
                ),
            )
            for one in frozen
        )
    return FinetuneRecord(**common, **arms, frozen=tuple(frozen))


def _epochs(count, scale):
    for epoch in range(1, count + 1):
        terms = {
            "loss": scale * (30 + 8 / epoch),
            "invariance_loss": 0.2,
            "variance_loss": 0.4 + 0.3 / epoch,
            "covariance_loss": 4 - 2 / epoch,
            "embedding_std": 0.6 - 0.3 / epoch,
        }
        validation = {f"val_{name}": 1.1 * value for name, value in terms.items()}
        scores = {"knn_top1": 0.7 - 0.4 / epoch, "knn_bank": 140.0}
        yield PretrainRecord(
            dataset="sevens",
            seed=0,
            epoch=epoch,
            step=100 * epoch,
            minutes=1.5 * epoch,
            metrics={"learning_rate": 1e-3 / epoch, **terms, **validation, **scores},
        )


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
        start = self.elements.index(self.all("table", inside)[number])
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
def records():
    """A record of each type, by type."""
    return _records()


@pytest.fixture
def make_run(tmp_path):
    """A function that makes the folder of a run with records of these types."""

    def make(name="sevens", only=None, epochs=4, scale=1.0, changed=(), **settings):
        run = RunFolder(tmp_path / name)
        run.create()
        given = {"dataset": "sevens", "encoder": "tiny", "seed": "0", "epochs": "4"}
        run.write_flags(given | {"workdir": str(run.path)} | settings)
        run.write_environment(precision="float32", seed=0)
        for record in _epochs(epochs, scale):
            run.append_metrics(to_json(record))
        known = _records() | {type(record): record for record in changed}
        for cls in known if only is None else only:
            run.append_metrics(to_json(known[cls]))
        return run

    return make


@pytest.fixture
def parse():
    """Makes a `Page` of text, and fails where elements are not closed."""
    return Page


@pytest.fixture
def make_map():
    """A function that makes a map of as many points, in two panels."""

    def make(num_points=70, side=32, images=None, texts=None):
        random = np.random.default_rng(0)
        if images is None:
            shape = (num_points, side, side, 3)
            images = random.integers(0, 256, shape, np.uint8)
        labels = np.arange(num_points) % len(CLASS_NAMES)
        angles = 2 * np.pi * labels / len(CLASS_NAMES)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points += 0.1 * random.normal(size=points.shape)
        projection = Projection(points, None, PROJECTION)
        clusters = np.roll(labels, 1)
        figure = cluster_map(projection, clusters, labels, CLASS_NAMES)
        if texts is None:
            texts = [f"cluster: {i}" for i in clusters]
        places = positions(figure, points)
        return ClusterMap(to_png(figure), places, images, texts)

    return make


@pytest.fixture
def draw_examples():
    """A function that draws into a run what its evaluations draw of examples."""

    def draw(run, class_names=CLASS_NAMES):
        image = np.zeros((8, 8, 3), np.uint8)
        counts = 1 + 8 * np.eye(len(class_names), dtype=int)
        tiles = [Tile(image, class_names[0], f"as {class_names[1]}, 98.77 %")]
        figures = {
            "confusion": confusion(counts, class_names, run.path.name),
            "mistakes": mistake_grid(tiles, "Wrong."),
            "retrieval": neighbor_grid(tiles, [tiles]),
            "clusters": mistake_grid([], "A map."),
            "export": mistake_grid([], "Files."),
        }
        for name, figure in figures.items():
            save(figure, run.figures / f"{name}.png")
        return run

    return draw
