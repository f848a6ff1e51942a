"""What people type: `python main.py --mode=pretrain`, then `--mode=linear_eval`."""

import contextlib
import dataclasses
import os
import re
import shlex
import sys

# Before TensorFlow is imported: its start-up notes are not about the user's run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging  # noqa: E402

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, numbers, encoder, pictures."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    "digits",
    "Images: 'digits' (always there), 'folder:PATH' (JPEG and PNG, subfolders are "
    "classes), 'npz:PATH', or a name of tensorflow-datasets, such as cifar10. Rows: "
    "'csv:PATH', 'parquet:PATH', 'npz:PATH', digits_table, breast_cancer, wine, iris.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Where tensorflow-datasets keeps, or puts, its sets."
)
_LABEL_COLUMN = flags.DEFINE_string(
    "label_column", None, "Column of a csv or parquet file that holds the classes."
)
_DROP_COLUMNS = flags.DEFINE_list(
    "drop_columns", [], "Columns of a csv or parquet file to leave out, with commas."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "Resize images to so many pixels a side; by default they keep their size.",
    lower_bound=1,
)
_VALIDATION_FRACTION = flags.DEFINE_float(
    "validation_fraction",
    0.1,
    "Part of the training images held out: every choice is made on it.",
)
_MEMORY_LIMIT_GIB = flags.DEFINE_float(
    "memory_limit_gib", 4.0, "Decoded images are held in memory up to this size, GiB."
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 256, "Images a step, over all devices.", lower_bound=1
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of weights, order, views and held-out part.", lower_bound=0
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "auto",
    ["auto", "float32", "bfloat16", "float16"],
    "Arithmetic of the networks; auto looks at the hardware. The loss is in float32.",
)
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", False, "Bit-for-bit the same run twice; some devices get slower."
)

_VIEWS = flags.DEFINE_enum(
    "views",
    "auto",
    ["auto", "cifar", "grayscale", "paper", "series", "table"],
    "Named pair of random views; auto takes cifar for images, rows for rows.",
)
_NUM_VIEWS = flags.DEFINE_integer(
    "num_views",
    2,
    "Random views of each example in a step, the pair's in turn; time and memory grow "
    "with them.",
    lower_bound=2,
)
_CROP_SIZE = flags.DEFINE_integer(
    "crop_size", None, "Pixels a side of a view; by default the image's.", lower_bound=1
)
_INTERPOLATION = flags.DEFINE_enum(
    "interpolation", None, ["bilinear", "bicubic"], "Views: of crops; the pair's."
)
_VIEW_NUMBERS = {
    name: flags.DEFINE_float(name, None, f"Views: {text}; by default the pair's.")
    for name, text in {
        "flip_probability": "probability of a horizontal flip",
        "jitter_probability": "probability of color jitter",
        "brightness": "strength of brightness jitter",
        "contrast": "strength of contrast jitter",
        "saturation": "strength of saturation jitter",
        "hue": "strength of hue jitter, in turns",
        "grayscale_probability": "probability of losing the color",
        "blur_probability": "probability of a Gaussian blur",
        "solarize_probability": "probability of solarization",
        "solarize_threshold": "first pixel value that solarization inverts",
    }.items()
}
_VIEW_RANGES = {
    name: flags.DEFINE_list(name, None, f"Views: {text}; by default the pair's.")
    for name, text in {
        "crop_scale": "least,greatest area of a crop, as fractions of the image's",
        "crop_ratio": "least,greatest width / height of a crop",
        "blur_sigma": "least,greatest standard deviation of a blur, in pixels",
    }.items()
}

_TABLE_VIEW_NUMBERS = {
    name: define(name, None, f"Views of rows: {text}; by default the pair's.")
    for define, name, text in (
        (
            flags.DEFINE_float,
            "corruption_probability",
            "probability of another row's value",
        ),
        (flags.DEFINE_float, "noise_std", "of numbers, in standard deviations"),
        (flags.DEFINE_float, "masking_probability", "probability of a missing value"),
        (flags.DEFINE_float, "mixup", "largest share of another row"),
        (flags.DEFINE_float, "scaling_std", "spread of a series' factor about 1"),
        (flags.DEFINE_float, "min_crop", "least part of a series' window that is kept"),
        (flags.DEFINE_integer, "num_channels", "of a series, its columns step by step"),
    )
}

_ENCODER = flags.DEFINE_enum(
    "encoder",
    "auto",
    ["auto", "convnet", "mlp", "resnet18", "resnet34", "resnet50", "small", "tiny"]
    + ["whitened4", "whitened6"],
    "Network that is trained; auto takes resnet18 for images, mlp for rows.",
)
_MLP = flags.DEFINE_string("mlp", "256-128", "Widths of the mlp's layers.")
_STEM = flags.DEFINE_enum(
    "stem",
    "auto",
    ["auto", "cifar", "imagenet"],
    "First layers of a ResNet; auto takes CIFAR's up to 64 pixels.",
)
_PROJECTOR = flags.DEFINE_string(
    "projector", "2048-2048-2048", "Widths of the layers between encoder and loss."
)
_POSITIVES = flags.DEFINE_enum(
    "positives",
    "views",
    ["neighbors", "views"],
    "The second view, and of more every second one, is of the image itself, or of a "
    "random one of its nearest neighbors in the run that --neighbors_from names.",
)
_NEIGHBORS_FROM = flags.DEFINE_string(
    "neighbors_from",
    None,
    "Folder of the run whose encoder says what is near; 'input': raw pixels, or scaled "
    "rows, themselves.",
)
_NUM_POSITIVES = flags.DEFINE_integer(
    "num_positives", 5, "Neighbors to draw a second view from.", lower_bound=1
)
_WEIGHTS = [
    flags.DEFINE_float(
        f"{term}_weight", default, f"Of the loss ({symbol} in the paper)."
    )
    for term, default, symbol in (
        ("invariance", 25.0, "lambda"),
        ("variance", 25.0, "mu"),
        ("covariance", 1.0, "nu"),
    )
]

_OPTIMIZER = flags.DEFINE_enum(
    "optimizer", "adamw", ["adam", "adamw", "lars", "sgd"], "Optimizer."
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", 1e-3, "Peak, not scaled by the batch size.", lower_bound=0
)
_WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay", 1e-4, "Not for biases and batch norm.", lower_bound=0
)
_MOMENTUM = flags.DEFINE_float("momentum", 0.9, "Of lars and sgd.", lower_bound=0)
_ETA = flags.DEFINE_float("eta", 0.001, "Trust coefficient of lars.", lower_bound=0)
_CLIP = flags.DEFINE_bool("clip", False, "Bound the local learning rates of lars.")
_GLOBAL_CLIPNORM = flags.DEFINE_float(
    "global_clipnorm", 0.0, "Greatest norm of the gradient; 0: any.", lower_bound=0
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 100, "Of the whole run; larger extends a finished one.", lower_bound=1
)
_WARMUP_EPOCHS = flags.DEFINE_float(
    "warmup_epochs", 1.0, "Epochs of rising learning rate.", lower_bound=0
)
_FINAL_LEARNING_RATE_FRACTION = flags.DEFINE_float(
    "final_learning_rate_fraction",
    0.0,
    "Learning rate at the end of the cosine, over the peak.",
    lower_bound=0,
    upper_bound=1,
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Start a new run from the weights of the run in this folder."
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    ["auto", "mirrored", "one"],
    "Devices a batch is shared by; auto takes all GPUs.",
)
_SCORE_EVERY = flags.DEFINE_integer(
    "score_every",
    5,
    "Epochs between two looks at ranks and, with labels, at kNN accuracy; 0 for none.",
    lower_bound=0,
)
_CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    10.0,
    "Minutes between checkpoints in an epoch.",
    lower_bound=0,
)

_SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "Evaluate this SavedModel instead of a run's."
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "cached", ["cached", "augmented", "both"], "Of linear evaluation."
)
_PROBE_EPOCHS = flags.DEFINE_integer(
    "probe_epochs", 100, "Of the augmented protocol.", lower_bound=1
)
_FEW_LABELS = flags.DEFINE_integer(
    "few_labels", 10, "Labels a class of the few-label rows; 0 for none.", lower_bound=0
)
_FEW_LABEL_SEEDS = flags.DEFINE_integer(
    "few_label_seeds", 5, "Draws of the few labels.", lower_bound=1
)

_QUERY = flags.DEFINE_string(
    "query",
    None,
    "Of retrieve: examples of your own to find neighbors of; images in a file, folder "
    "or glob, or rows in a csv, parquet or npz file.",
)
_INDEX = flags.DEFINE_string(
    "index",
    "Flat",
    "Of retrieve and --neighbors_from: FAISS's factory string. Flat is exact; "
    "IVF256,Flat and HNSW32 are faster, IVF1024,PQ32 smaller.",
)
_SEARCH_PARAMETERS = flags.DEFINE_string(
    "search_parameters", None, "Of that index, such as nprobe=16 or efSearch=64."
)
_NUM_NEIGHBORS = flags.DEFINE_integer(
    "num_neighbors", 5, "Of retrieve: in the picture and for --query.", lower_bound=1
)
_CLUSTERS = flags.DEFINE_integer(
    "clusters",
    None,
    "Of cluster: how many; by default as many as classes, and without labels as many "
    "as give the best silhouette.",
    lower_bound=2,
)
_PROJECTION = flags.DEFINE_enum(
    "projection",
    "tsne",
    ["pca", "tsne", "umap"],
    "Of cluster: how its picture is made; umap needs the package umap-learn.",
)
_SAMPLE_SIZE = flags.DEFINE_integer(
    "sample_size", 5000, "Of cluster: points in the picture.", lower_bound=3
)
_FIGURE_INCHES = flags.DEFINE_list(
    "figure_inches", None, "Of cluster: width,height of the picture, in inches."
)
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Of embed: examples to take instead of the dataset's, as of --query.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Where embed (.npz, .csv), retrieve --query (.csv), report (.html) and export (a "
    "folder) write.",
)
_HEAD = flags.DEFINE_enum(
    "head",
    None,
    ["linear"],
    "Add the linear head: its class and probability in the file that embed writes, "
    "signatures that classify in the SavedModel that export writes.",
)
_FORMAT = flags.DEFINE_list(
    "format", ["savedmodel"], "Of export: some of savedmodel, tflite, onnx."
)
_QUANTIZATION = flags.DEFINE_list(
    "quantization",
    None,
    "Of export: the TFLite files to write, of float32, float16, dynamic_range, int8, "
    "int8_only; by default all, and for rows float32 and dynamic_range.",
)
_LABEL_FRACTIONS = flags.DEFINE_list(
    "label_fractions",
    ["0.01", "0.1", "1"],
    "Of finetune: parts of the training labels to train on.",
)
_FINETUNE_EPOCHS = flags.DEFINE_integer(
    "finetune_epochs", 20, "Of finetune.", lower_bound=1
)
_ABLATE_SEEDS = flags.DEFINE_integer(
    "ablate_seeds", 1, "Of ablate: runs of each variant, from --seed on.", lower_bound=1
)
_WEIGHTS_GRID = flags.DEFINE_list(
    "weights_grid",
    None,
    "Of ablate: weights of invariance, variance and covariance to compare, such as "
    "25-25-1,25-50-1; by default the full loss and each term left out.",
)
_SEARCH = (
    flags.DEFINE_integer("trials", 40, "Of search: in all.", lower_bound=1),
    flags.DEFINE_enum(
        "objective",
        "knn",
        ["knn", "linear", "silhouette", "rankme"],
        "Of search: what held-out images judge by.",
    ),
    flags.DEFINE_string("space", None, "Of search: YAML file of what may vary."),
    flags.DEFINE_integer("search_seeds", 5, "Of search: last runs.", lower_bound=1),
    flags.DEFINE_integer("trial_epochs", None, "By default --epochs.", lower_bound=1),
)
_RUNS = flags.DEFINE_list(
    "runs", None, "Of report: folders of runs to compare on one page, with commas."
)

# The modes that judge an encoder, and the flags that are theirs alone.
JUDGES = {
    "linear_eval": (_PROTOCOL, _PROBE_EPOCHS, _FEW_LABELS, _FEW_LABEL_SEEDS),
    "knn_eval": (),
    "retrieve": (_QUERY, _OUTPUT, _INDEX, _SEARCH_PARAMETERS, _NUM_NEIGHBORS),
    "cluster": (_CLUSTERS, _PROJECTION, _SAMPLE_SIZE, _FIGURE_INCHES),
    "spectrum": (),
    "embed": (_INPUT, _OUTPUT, _HEAD),
    "finetune": (_LABEL_FRACTIONS, _FINETUNE_EPOCHS),
    "evaluate": (),
    "export": (_FORMAT, _HEAD, _QUANTIZATION, _OUTPUT),
}
_MODE = flags.DEFINE_enum(
    "mode",
    None,
    ["pretrain", "ablate", "search", "report", *JUDGES],
    "What to do.",
    required=True,
)

# What a run's recipe is made of. A run is continued only with the same values.
_DATA_FLAGS = (
    *(_DATASET, _LABEL_COLUMN, _DROP_COLUMNS, _IMAGE_SIZE),
    *(_VALIDATION_FRACTION, _SEED),
)
_RECIPE_FLAGS = (
    *_DATA_FLAGS,
    _BATCH_SIZE,
    _PRECISION,
    _VIEWS,
    _NUM_VIEWS,
    _CROP_SIZE,
    _INTERPOLATION,
    *_VIEW_NUMBERS.values(),
    *_VIEW_RANGES.values(),
    *_TABLE_VIEW_NUMBERS.values(),
    _ENCODER,
    _MLP,
    _STEM,
    _PROJECTOR,
    _POSITIVES,
    _NEIGHBORS_FROM,
    _NUM_POSITIVES,
    *_WEIGHTS,
    _OPTIMIZER,
    _LEARNING_RATE,
    _WEIGHT_DECAY,
    _MOMENTUM,
    _ETA,
    _CLIP,
    _GLOBAL_CLIPNORM,
    _EPOCHS,
    _WARMUP_EPOCHS,
    _FINAL_LEARNING_RATE_FRACTION,
)
# Kept with the run, too, but free to change from one start to the next.
_FREE_FLAGS = (
    _DATA_DIR,
    _MEMORY_LIMIT_GIB,
    _DETERMINISTIC,
    _INIT_FROM,
    _STRATEGY,
    _SCORE_EVERY,
    _CHECKPOINT_MINUTES,
)


def cli() -> None:
    """Runs the mode that the command line asks for; the console script's entry."""
    app.run(_main, flags_parser=_parse)


def _main(argv):
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # FAISS tells how it was loaded.
    with _silent_stderr():
        import tensorflow as tf

        import vicreg_keras  # noqa: F401  Now, so that nothing else starts it.
    try:
        if len(argv) > 1:
            raise ValueError(f"Expected flags only, --name=value. Received: {argv[1]}.")
        status = OTHER_MODES.get(_MODE.value, _judge)()
    except (ValueError, OSError, FloatingPointError) as error:
        status = _fail(str(error))
    except tf.errors.OpError as error:
        # What reading an example raised, inside a tf.data pipeline.
        cause = re.search(r"^\w*Error: (Expected .*)", str(error), re.M)
        if not cause:
            raise
        status = _fail(cause[1])
    sys.exit(status)


def _fail(message):
    logging.debug("What led to it:", exc_info=True)  # With --verbosity=1.
    print(f"main.py: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _parse(argv):
    """Parses flags; a run's own are defaults for the modes that judge it."""
    try:
        arguments = flags.FLAGS(argv)
        if _MODE.value != "pretrain" and _WORKDIR.value:
            own = _own_flags(_WORKDIR.value)
            given = {name for name in own if flags.FLAGS[name].present}
            flags.FLAGS.unparse_flags()
            unset = [f"--{k}={v}" for k, v in own.items() if k not in given]
            arguments = flags.FLAGS([argv[0], *unset, *argv[1:]])
        return arguments
    except flags.Error as error:
        sys.exit(_fail(f"{error} See --help."))


def _own_flags(workdir):
    with _silent_stderr():
        from vicreg_keras.workdir.run_folder import RunFolder

    own = RunFolder(workdir).read_settings()
    known = {flag.name for flag in (*_RECIPE_FLAGS, *_FREE_FLAGS)}
    return {name: value for name, value in own.items() if name in known}


def _pretrain():
    from vicreg_keras.training.positives import run_pretrain
    from vicreg_keras.workdir.run_folder import RunFolder

    run = _own_folder()
    init_from = RunFolder(_INIT_FROM.value) if _INIT_FROM.value else None
    settings = settings_from_flags()
    run.create()
    with run.lock():
        _claim(run, settings)
        result = run_pretrain(
            settings,
            dataset_from_flags(),
            run,
            init_from,
            index=_INDEX.value,
            search_parameters=_SEARCH_PARAMETERS.value,
        )
    if result["stopped_by"]:
        print(f"\nStopped by {result['stopped_by']}; all is saved. To continue, type")
        print(f"  python main.py --flagfile={run.flags}")
        return 130
    print(f"The encoder is in {result['encoder']}, pictures in {run.figures}. Next:")
    print(f"  python main.py --mode=linear_eval --workdir={run.path}")
    return 0


def _ablate():
    from vicreg_keras.modes.ablate import VARIANTS, parse_grid, run_ablate

    run, settings = _own_folder(), settings_from_flags()
    variants = parse_grid(_WEIGHTS_GRID.value) if _WEIGHTS_GRID.value else VARIANTS

    def claim(part, chosen):
        varied = ("seed", *(flag.name for flag in _WEIGHTS))
        _claim(part, settings, **{name: getattr(chosen, name) for name in varied})

    row = run_ablate(
        settings,
        dataset_from_flags(),
        run,
        claim=claim,
        variants=variants,
        num_seeds=_ABLATE_SEEDS.value,
    )
    return _stopped() if row.get("stopped_by") else 0


def _search():
    from vicreg_keras.search.run import run_search
    from vicreg_keras.training.positives import earlier_run, find_positives

    run, settings, dataset = _own_folder(), settings_from_flags(), dataset_from_flags()
    options = {flag.name: flag.value for flag in _SEARCH}
    earlier = earlier_run(settings, dataset)
    row = run_search(
        settings,
        dataset,
        run,
        claim=lambda part, changes: _claim(part, settings, **changes),
        positives=earlier and find_positives(earlier, run, settings),
        **options,
    )
    return _stopped() if row.get("stopped_by") else 0


def _own_folder():
    """The run of --workdir, for the modes that train."""
    from vicreg_keras.workdir.run_folder import RunFolder

    if not _WORKDIR.value:
        raise ValueError(
            "Expected --workdir=RUN, a folder for what is trained. Received: none."
        )
    return RunFolder(_WORKDIR.value)


def _stopped():
    print(f"\nStopped; all is saved. Continue:\n  python {shlex.join(sys.argv)}")
    return 130


def _judge():
    """Judges a run's encoder, or a SavedModel, as the mode says."""
    from vicreg_keras.modes.context import open_context
    from vicreg_keras.modes.registry import MODES
    from vicreg_keras.training.pretrain import draw_figures
    from vicreg_keras.workdir.run_folder import RunFolder

    run = RunFolder(_WORKDIR.value) if _WORKDIR.value else None
    context = open_context(
        settings_from_flags(), dataset_from_flags, run, _SAVED_MODEL.value
    )
    options = {flag.name: flag.value for flag in JUDGES[_MODE.value]}
    MODES[_MODE.value](context, **options)
    if context.run is not None and context.run.metrics.exists():
        draw_figures(context.run)
        print(
            f"Numbers are in {context.run.metrics}, pictures in {context.run.figures}."
        )
    return 0


def _report():
    import pathlib

    from vicreg_keras.report.page import build_report
    from vicreg_keras.workdir.run_folder import RunFolder

    if not _RUNS.value:
        raise ValueError("Expected --runs=RUN,RUN: folders of runs. Received: none.")
    path = pathlib.Path(_OUTPUT.value or "report.html")
    build_report([RunFolder(run) for run in _RUNS.value], path)
    print(f"The report, to be opened in a browser: {path}")
    return 0


# The modes that do not judge one encoder.
OTHER_MODES = dict(pretrain=_pretrain, ablate=_ablate, search=_search, report=_report)


@contextlib.contextmanager
def _silent_stderr():
    """Drops what C++ writes to stderr, past every log level, as TensorFlow starts."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def settings_from_flags():
    """The recipe that the flags make, its precision put in force."""
    import keras
    import tensorflow as tf

    from vicreg_keras.hardware.precision import POLICIES, choose_precision
    from vicreg_keras.settings import Settings

    precision = choose_precision(_PRECISION.value)
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])
    if _DETERMINISTIC.value:
        tf.config.experimental.enable_op_determinism()
    overrides = {name: flag.value for name, flag in _VIEW_NUMBERS.items()}
    overrides |= {name: _interval(flag) for name, flag in _VIEW_RANGES.items()}
    overrides |= {flag.name: flag.value for flag in (_CROP_SIZE, _INTERPOLATION)}
    # Flags and settings bear the same names.
    names = {field.name for field in dataclasses.fields(Settings)}
    values = {name: flags.FLAGS[name].value for name in names & set(flags.FLAGS)}
    values |= {"precision": precision, "view_overrides": overrides}
    row_overrides = {name: flag.value for name, flag in _TABLE_VIEW_NUMBERS.items()}
    values["row_view_overrides"] = row_overrides
    return Settings(**values)


def dataset_from_flags():
    """The dataset that the flags name."""
    from vicreg_keras.data.dataset import load_dataset

    return load_dataset(
        _DATASET.value,
        data_dir=_DATA_DIR.value,
        label_column=_LABEL_COLUMN.value,
        drop_columns=_DROP_COLUMNS.value,
        image_size=_IMAGE_SIZE.value,
        validation_fraction=_VALIDATION_FRACTION.value,
        seed=_SEED.value,
        memory_limit_gib=_MEMORY_LIMIT_GIB.value,
    )


def _claim(run, settings, **changes):
    """Holds a run to the flags that it was started with, but for these changes."""
    free = {flag.name for flag in (*_FREE_FLAGS, _MODE, _WORKDIR, _EPOCHS)}
    values = {flag.name: flag.value for flag in (*_RECIPE_FLAGS, *_FREE_FLAGS)}
    values |= {"mode": "pretrain", "workdir": run.path}
    values |= {"precision": settings.precision, **changes}
    texts = {}
    for name, value in values.items():
        if isinstance(value, list):
            value = ",".join(value)
        if isinstance(value, bool):
            value = str(value).lower()
        if value is not None:
            texts[name] = str(value)
    run.claim(texts, may_change=free)


def _interval(flag):
    if flag.value is None:
        return None
    try:
        low, high = (float(value) for value in flag.value)
    except ValueError as error:
        raise ValueError(
            f"Expected --{flag.name}=LEAST,GREATEST, two numbers. Received: "
            f"--{flag.name}={','.join(flag.value)}."
        ) from error
    return low, high


if __name__ == "__main__":
    cli()
