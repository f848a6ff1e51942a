"""Options of each mode, beside the recipe's and the data's in `settings`."""

import dataclasses

from vicreg_keras.errors import InputError, check_packages
from vicreg_keras.settings import Settings
from vicreg_keras.settings.options import Options, option

# Names that the modes understand, checked before anything heavy is imported.
FORMATS = ("savedmodel", "tflite", "onnx")
TFLITE_VARIANTS = ("float32", "float16", "dynamic_range", "int8", "int8_only")
REPRESENTATIONS = ("pool", "pool2x2", "stages")
AVERAGES = ("none", "flip", "bag")

_OUTPUT = (
    "Path that is written: a folder by export, .html by report, .npz or .csv by embed, "
    ".csv by retrieve with a query."
)
_HEAD = (
    "Add the linear head: class and probability in the file of embed, signatures that "
    "classify in the SavedModel of export."
)
_INDEX = (
    "FAISS factory string of the index over representations: Flat is exact, "
    "IVF256,Flat and HNSW32 are faster, IVF1024,PQ32 is smaller."
)
_SEARCH_PARAMETERS = "Search parameters of the index, such as nprobe=16 or efSearch=64."


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainOptions(Options):
    """Options of `--mode=pretrain` beside the recipe."""

    index: str = option("Flat", _INDEX, only_with={"positives": ("neighbors",)})
    search_parameters: str | None = option(
        None, _SEARCH_PARAMETERS, only_with={"positives": ("neighbors",)}
    )
    on_changed_data: str = option(
        "refuse",
        "Whether a run goes on when its data has changed: refuse says what has "
        "changed, continue trains on what is there now.",
        choices=("refuse", "continue"),
    )
    on_nan: str = option(
        "stop",
        "What follows on a loss, gradient or weight that is NaN or infinite: stop says "
        "what it came from, rollback goes back to the last checkpoint, with half the "
        "learning rate from there on.",
        choices=("stop", "rollback"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearEvalOptions(Options):
    """Options of `--mode=linear_eval`."""

    protocol: str = option(
        "cached",
        "Probe on cached representations, on augmented images, or both.",
        choices=("cached", "augmented", "both"),
    )
    probe_epochs: int = option(
        100,
        "Epochs of the augmented probe.",
        minimum=1,
        maximum=10**5,
        only_with={"protocol": ("augmented", "both")},
    )
    few_labels: int = option(
        10,
        "Labels per class of the few-label probe; 0 for none.",
        minimum=0,
        maximum=10**6,
    )
    few_label_seeds: int = option(
        5, "Random draws of the few labels.", minimum=1, maximum=1000
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnEvalOptions(Options):
    """`--mode=knn_eval` has no options of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrieveOptions(Options):
    """Options of `--mode=retrieve`."""

    query: str | None = option(
        None,
        "User-provided examples to find neighbors of: an image file, folder or glob, "
        "or a CSV, Parquet or npz file.",
        exists=True,
    )
    output: str | None = option(None, _OUTPUT, suffixes=(".csv",))
    index: str = option("Flat", _INDEX)
    search_parameters: str | None = option(None, _SEARCH_PARAMETERS)
    num_neighbors: int = option(
        5, "Neighbors per query that are shown.", minimum=1, maximum=1000
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterOptions(Options):
    """Options of `--mode=cluster`."""

    num_clusters: int | None = option(
        None,
        "Number of clusters; by default the number of classes, and without labels the "
        "one with the best silhouette.",
        minimum=2,
        maximum=10**5,
    )
    projection: str = option(
        "tsne",
        "Projection of the figure; umap needs the package umap-learn.",
        choices=("pca", "tsne", "umap"),
    )
    sample_size: int = option(5000, "Points in the figure.", minimum=4, maximum=10**5)
    figure_inches: tuple[float, ...] | None = option(
        None, "WIDTH,HEIGHT of the figure, in inches.", minimum=1, maximum=100
    )

    def __post_init__(self):
        super().__post_init__()
        if self.figure_inches is not None and len(self.figure_inches) != 2:
            raise InputError(
                "Expected figure_inches to be WIDTH,HEIGHT. Received: figure_inches="
                f"{','.join(map(str, self.figure_inches))}."
            )
        if self.projection == "umap":
            check_packages("projection=umap", {"umap": "umap-learn"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectrumOptions(Options):
    """`--mode=spectrum` has no options of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedOptions(Options):
    """Options of `--mode=embed`."""

    input: str | None = option(
        None,
        "User-provided examples instead of the dataset's; see query.",
        exists=True,
    )
    output: str | None = option(None, _OUTPUT, suffixes=(".npz", ".csv"))
    head: str | None = option(None, _HEAD, choices=("linear",))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneOptions(Options):
    """Options of `--mode=finetune`."""

    label_fractions: tuple[float, ...] = option(
        (0.01, 0.1, 1.0),
        "Fractions of the training labels to train on, above 0.",
        minimum=0,
        maximum=1,
        exclusive=("minimum",),
    )
    finetune_epochs: int = option(
        20, "Epochs of finetuning, at least 300 steps.", minimum=1, maximum=10**5
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """`--mode=evaluate` has no options of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """Options of `--mode=export`."""

    format: tuple[str, ...] = option(
        ("savedmodel",), "Formats to write.", choices=FORMATS
    )
    head: str | None = option(None, _HEAD, choices=("linear",))
    quantization: tuple[str, ...] | None = option(
        None,
        "TFLite files to write; by default all, and for tables float32 and "
        "dynamic_range.",
        choices=TFLITE_VARIANTS,
    )
    output: str | None = option(None, _OUTPUT)

    def __post_init__(self):
        super().__post_init__()
        formats = ",".join(self.format)
        if "onnx" in self.format:
            packages = {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}
            check_packages("format=onnx", packages)
        if self.head and "savedmodel" not in self.format:
            raise InputError(
                "Expected format=savedmodel with a head: no other format holds it. "
                f"Received: format={formats}."
            )
        if self.quantization and "tflite" not in self.format:
            raise InputError(
                "Expected format=tflite with quantization, which has no effect "
                f"otherwise. Received: format={formats}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblateOptions(Options):
    """Options of `--mode=ablate`."""

    ablate_seeds: int = option(
        1, "Runs of each variant, with seeds from seed on.", minimum=1, maximum=1000
    )
    weights_grid: tuple[str, ...] | None = option(
        None,
        "Weights of the loss's terms to compare, in their order, such as "
        "25-25-1,25-50-1; by default the full loss and each term left out.",
    )

    def __post_init__(self):
        super().__post_init__()
        self.variants(Settings())

    def variants(self, settings: Settings) -> dict[str, Settings]:
        """Returns the variants of a recipe, by name.

        Args:
            settings: The recipe; a term that it leaves out is not left out again.

        Raises:
            InputError: If `weights_grid` has something else than weights.
        """
        weights = settings.group("loss")
        if self.weights_grid is None:
            used = [name for name, weight in weights.items() if weight]
            without = {
                f"no {name.removesuffix('_weight')}": settings.replace({name: 0.0})
                for name in used
            }
            return {"full loss": settings, **without}
        variants = {}
        for text in self.weights_grid:
            try:
                values = map(float, text.split("-"))
                changes = dict(zip(weights, values, strict=True))
                variants[text] = settings.replace(changes)
            except ValueError as error:
                raise InputError(
                    f"Expected {', '.join(weights)} of every variant, joined by "
                    f"hyphens. Received: weights_grid={text}."
                ) from error
        return variants


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(Options):
    """Options of `--mode=search`."""

    trials: int = option(40, "Trials in all.", minimum=1, maximum=10**5)
    objective: str = option(
        "knn",
        "Quality on the validation split that is maximized.",
        choices=("knn", "linear", "silhouette", "rankme"),
    )
    space: str | None = option(None, "YAML file of the search space.", exists=True)
    search_seeds: int = option(
        5, "Seeds of the final comparison with the recipe.", minimum=1, maximum=1000
    )
    trial_epochs: int | None = option(
        None, "Epochs of a trial; by default the recipe's.", minimum=1, maximum=10**6
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """Options of `--mode=report`."""

    runs: tuple[str, ...] = option(
        (), "Folders of the runs that are compared.", exists=True
    )
    output: str | None = option(None, _OUTPUT, suffixes=(".html",))

    def __post_init__(self):
        super().__post_init__()
        if not self.runs:
            raise InputError("Expected runs=RUN,RUN: folders of runs. Received: none.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """`--mode=verify` has no options of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """Options of every mode."""

    mode: str | None = option(None, "What to do; see above.", group="run")
    workdir: str | None = option(
        None,
        "Folder of the run: checkpoints, metrics, encoder, figures.",
        group="run",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderOptions(Options):
    """Options of the modes that evaluate or export an encoder."""

    saved_model: str | None = option(
        None, "Evaluate this SavedModel instead of a run's encoder.", group="encoder"
    )
    representation: str = option(
        "pool",
        "What is read out of a run's encoder: pool is what it was trained by, the mean "
        "over its last map; pool2x2 is a mean for each quadrant, four times as many "
        "numbers; stages the means over the maps of all its stages.",
        choices=REPRESENTATIONS,
        group="encoder",
    )
    average: str = option(
        "none",
        "Views of an image whose representations are averaged: flip the image and its "
        "mirror image, bag both of the whole image and of five crops.",
        choices=AVERAGES,
        group="encoder",
    )
