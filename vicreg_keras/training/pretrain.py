"""Data, views, encoder, loss and optimizer put together: one run of pretraining."""

import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Sequence
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras import losses
from vicreg_keras.data.dataset import Dataset
from vicreg_keras.evaluate.features import compile_encoder, extract_features
from vicreg_keras.evaluate.knn import knn_accuracy
from vicreg_keras.evaluate.spectrum import (
    DIAGNOSIS_METRICS,
    diagnose_collapse,
    spectrum,
)
from vicreg_keras.export.savedmodel import export_savedmodel
from vicreg_keras.figures.style import save
from vicreg_keras.figures.training import (
    accuracy_over_minutes,
    collapse_curves,
    loss_curves,
)
from vicreg_keras.hardware import distribute
from vicreg_keras.model import VICReg
from vicreg_keras.models import encoders
from vicreg_keras.models.table_encoder import make_row_encoder
from vicreg_keras.settings import Settings
from vicreg_keras.training import callbacks, optim
from vicreg_keras.views.image_views import make_views
from vicreg_keras.views.table_views import make_table_views
from vicreg_keras.workdir.run_folder import RunFolder
from vicreg_keras.workdir.versions import newest_version

# What the scores during training look at, at most: they are for watching, not results.
_KNN_BANK, _KNN_QUERIES = 5000, 2000
_EMBEDDINGS = 2000
_MARGINAL_ROWS = 50_000


def pretrain(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder,
    init_from: RunFolder | None = None,
    positives: np.ndarray | None = None,
    *,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | bool = 1,
    export: bool = True,
) -> dict:
    """Trains, or continues, a run, and leaves its encoder as a SavedModel.

    Args:
        settings: what to train and how.
        dataset: its training part is trained on; its held-out part is watched.
        run: where checkpoints, numbers and the encoder go. If it holds a checkpoint,
            training continues from there to `settings.epochs`.
        init_from: an earlier run whose weights a new run starts from.
        positives: of `Split.training_pairs`; given if `settings.positives` is
            `"neighbors"`, and only then.
        extra_callbacks: called before the usual callbacks, so that what
            they add to an epoch's logs is kept with it.
        verbose: 0 does not show how it goes on.
        export: whether the encoder is written as a SavedModel, which takes seconds.

    Returns:
        The last epoch's numbers, `encoder` (the SavedModel's path or `None`) and
        `stopped_by` (the name of the signal that ended the run early, or `None`).

    Raises:
        ValueError: if a setting and the data don't fit, or a checkpoint can't be read.
        FloatingPointError: if the loss is no longer finite.
    """
    if (settings.positives == "neighbors") != (positives is not None):
        raise ValueError(
            "Expected neighbors to train on with positives='neighbors', and only "
            f"then. Received: positives={settings.positives!r} and "
            f"{'none' if positives is None else 'some'}."
        )
    steps_per_epoch = dataset.train.num_examples // settings.batch_size
    if steps_per_epoch < 1:
        raise ValueError(
            "Expected a batch no larger than the training part "
            f"({dataset.train.num_examples} images). Received: "
            f"batch_size={settings.batch_size}. Choose a smaller --batch_size."
        )
    strategy = distribute.make_strategy(settings.strategy)
    with strategy.scope():
        model = build_model(settings, dataset, steps_per_epoch)
    stopwatch = callbacks.Stopwatch()
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, stopwatch=stopwatch
    )
    manager = tf.train.CheckpointManager(checkpoint, run.checkpoints, max_to_keep=2)
    _restore(model, checkpoint, manager, init_from)
    step = int(model.step.numpy())
    total_steps = settings.epochs * steps_per_epoch
    run.write_environment(precision=settings.precision, seed=settings.seed)
    run.truncate_metrics(step)
    if verbose and 0 < step < total_steps:
        _say(f"Continuing {run.path} at step {step:,} of {total_steps:,}.")
    stopwatch.start()
    saver = callbacks.Checkpoints(manager, stopwatch, settings.checkpoint_minutes)
    if step < total_steps:
        # The saver comes last: when it ends the run, all else is written.
        usual = _callbacks(model, settings, dataset, run, stopwatch, verbose)
        extra_callbacks = [*extra_callbacks, *usual, saver]
        with saver, contextlib.suppress(callbacks.Stopped):
            _fit(model, settings, dataset, positives, extra_callbacks)
        draw_figures(run)
    result = {
        **(run.read_metrics("pretrain") or [{}])[-1],
        "encoder": None,
        "stopped_by": saver.stopped_by and saver.stopped_by.name,
    }
    if export and saver.stopped_by is None:
        result["encoder"] = str(_export(model, settings, dataset, run, step))
    return result


def build_model(settings: Settings, dataset: Dataset, steps_per_epoch: int) -> VICReg:
    """The compiled model of a run, with the weights its seed starts from."""
    settings = settings.for_examples(dataset.example_shape)
    encoders.check_side(settings.encoder, settings.crop_size)
    encoder = build_encoder(settings, dataset)
    synchronized = distribute.num_replicas() > 1
    projector = encoders.make_projector(
        encoder.output_shape[-1],
        encoders.parse_widths(settings.projector),
        synchronized=synchronized,
    )
    model = VICReg(
        encoder,
        projector,
        _make_views(settings, dataset),
        num_views=settings.num_views,
        loss_weights=_loss_weights(settings),
        seed=settings.seed,
        name="vicreg",
    )
    schedule = optim.warmup_cosine(
        settings.learning_rate,
        settings.epochs * steps_per_epoch,
        round(settings.fitting_warmup_epochs * steps_per_epoch),
        settings.final_learning_rate_fraction,
    )
    optimizer = optim.make_optimizer(
        settings.optimizer,
        schedule,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        eta=settings.eta,
        clip=settings.clip,
        global_clipnorm=settings.global_clipnorm,
    )
    model.compile(optimizer)
    model.optimizer.build(model.trainable_variables)
    return model


def build_encoder(settings: Settings, dataset: Dataset) -> keras.Model:
    """The untrained encoder of a run: the same weights for the same seed and data."""
    settings = settings.for_examples(dataset.example_shape)
    keras.utils.set_random_seed(settings.seed)
    if dataset.columns is not None:
        widths = encoders.parse_widths(settings.mlp, "mlp")
        return make_row_encoder(dataset.columns, dataset.table_statistics, widths)
    mean, std = dataset.pixel_statistics
    whitened = settings.encoder in encoders.WHITENED
    return encoders.make_encoder(
        settings.encoder,
        dataset.example_shape,
        stem=settings.stem,
        mean=mean,
        std=std,
        whitening=dataset.whitening_kernel if whitened else None,
        synchronized=distribute.num_replicas() > 1,
    )


def trained_encoder(
    settings: Settings, dataset: Dataset, run: RunFolder
) -> keras.Model:
    """The encoder of a run as it was last saved, which can be trained on.

    Args:
        settings: of the run.
        dataset: what the run was trained on, or another one of its image size.
        run: a run with a checkpoint.

    Raises:
        ValueError: if there is no checkpoint, or it is of another encoder.
    """
    encoder = build_encoder(settings, dataset)
    _load_weights(run, encoder=encoder)
    return encoder


def embedding_diagnosis(run: RunFolder) -> dict | None:
    """Whether a run's embeddings have collapsed, as they were last looked at.

    Args:
        run: a run that was trained.

    Returns:
        As of `evaluate.spectrum.diagnose_collapse`; `None` if they were not looked at.
    """
    for row in reversed(run.read_metrics("pretrain")):
        if f"embedding_{DIAGNOSIS_METRICS[0]}" in row:
            numbers = {name: row[f"embedding_{name}"] for name in DIAGNOSIS_METRICS}
            return diagnose_collapse(numbers, kind="embedding")
    return None


def draw_figures(run: RunFolder) -> None:
    """Draws the loss terms of a run, and ranks and kNN accuracy where there are any."""
    rows = run.read_metrics("pretrain")
    if not rows:
        return
    epochs = [
        SimpleNamespace(epoch=row["epoch"], minutes=row["minutes"], metrics=row)
        for row in rows
    ]
    runs = {run.path.name: epochs}
    save(loss_curves(runs), run.figures / "loss.png")
    if any("rankme" in row for row in rows):
        save(collapse_curves(runs), run.figures / "collapse.png")
    if any("knn_top1" in row for row in rows):
        linear = _linear_top1(run.read_metrics("linear_eval"))
        save(accuracy_over_minutes(runs, linear), run.figures / "accuracy.png")


def _linear_top1(records):
    """Accuracies of the last linear evaluation by the cached protocol."""
    results = records[-1]["results"] if records else {}
    return {
        name: protocols.get("cached", protocols.get("chance", {})).get("top1")
        for name, protocols in results.items()
    }


def _restore(model, checkpoint, manager, init_from):
    """Loads this run's last state or, for a new run, an earlier one's weights."""
    if manager.latest_checkpoint:
        try:
            checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        except (ValueError, AssertionError, tf.errors.OpError) as error:
            raise ValueError(
                "Expected a whole checkpoint of this recipe. Received: "
                f"{manager.latest_checkpoint} ({_first_line(error)}). Delete it to "
                "continue from the one before, or choose another --workdir."
            ) from error
    elif init_from is not None:
        # Neither the step nor the optimizer's state come along.
        _load_weights(init_from, encoder=model.encoder, projector=model.projector)


def _load_weights(run, **parts):
    """Gives these parts of a model the weights of a run."""
    path = tf.train.latest_checkpoint(run.checkpoints)
    if path is None:
        raise ValueError(
            "Expected an earlier run with a checkpoint. Received: "
            f"{run.path}. Give the --workdir of a run."
        )
    model = tf.train.Checkpoint(**parts)
    try:
        status = tf.train.Checkpoint(model=model).restore(path)
        status.expect_partial().assert_existing_objects_matched()
    except (ValueError, AssertionError, tf.errors.OpError) as error:
        raise ValueError(
            f"Expected an earlier run with the same {' and '.join(parts)}. Received: "
            f"{run.path} ({_first_line(error)})."
        ) from error


def _fit(model, settings, dataset, positives, extra_callbacks):
    """Fits from the model's step to the last; may raise `callbacks.Stopped`."""
    steps_per_epoch = dataset.train.num_examples // settings.batch_size
    held_out = _held_out_batches(dataset, settings)
    while int(model.step.numpy()) < settings.epochs * steps_per_epoch:
        step = int(model.step.numpy())
        epoch, done = divmod(step, steps_per_epoch)
        with warnings.catch_warnings():
            # Keras warns that it can't see whether a tf.data.Dataset is shuffled.
            warnings.filterwarnings("ignore", message=".*shuffle=True.*")
            model.fit(
                _training_batches(settings, dataset, positives, step),
                initial_epoch=epoch,
                # What is left of a begun epoch is fitted by itself.
                epochs=epoch + 1 if done else settings.epochs,
                steps_per_epoch=steps_per_epoch - done,
                validation_data=held_out,
                callbacks=extra_callbacks,
                verbose=0,
            )


def _training_batches(settings, dataset, positives, step):
    place = {"seed": settings.seed, "start_step": step}
    if positives is None:
        return dataset.train.training_batches(settings.batch_size, **place)
    return dataset.train.training_pairs(settings.batch_size, positives, **place)


def _callbacks(model, settings, dataset, run, stopwatch, verbose):
    total_steps = settings.epochs * (dataset.train.num_examples // settings.batch_size)
    extra_callbacks = [
        callbacks.Progress(
            settings.batch_size, total_steps, settings.epochs, verbose=verbose
        ),
        callbacks.History(run.append_metrics, stopwatch),
        keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
    ]
    if settings.score_every:
        score = _score(model, dataset, settings.seed)
        # First, so that the others see its numbers.
        scores = callbacks.Scores(score, settings.score_every, settings.epochs)
        extra_callbacks.insert(0, scores)
    return extra_callbacks


def _held_out_batches(dataset, settings):
    """Whole batches of held-out images in a random order, the same every time."""
    held_out = dataset.validation
    size = min(settings.batch_size, held_out.num_examples)
    if size < 2:
        return None
    order = np.random.default_rng(settings.seed).permutation(held_out.num_examples)
    whole = held_out.num_examples // size * size
    return (
        held_out.take(order[:whole])
        .batches(size)
        .map(lambda images: tf.ensure_shape(images, (size, *dataset.example_shape)))
    )


def _score(model, dataset, seed):
    """What is looked at as a model trains: its ranks and, with labels, kNN accuracy."""
    random = np.random.default_rng(seed)
    encode = compile_encoder(model.encoder, dataset.example_shape)
    bank = dataset.train.sample(_KNN_BANK, random)
    queries = dataset.validation.sample(_KNN_QUERIES, random)

    def score():
        features = extract_features(encode, bank, verbose=0)
        rows = features.representations
        numbers = spectrum(rows)
        names = ("rankme", "effective_rank", "alpha", "std_mean")
        # Alpha has no value where there are few dimensions.
        scores = {name: numbers[name] for name in names if numbers[name] is not None}
        embeddings = spectrum(_embeddings(model, rows[:_EMBEDDINGS]))
        scores |= {f"embedding_{name}": embeddings[name] for name in DIAGNOSIS_METRICS}
        if features.labels is not None:
            knn = knn_accuracy(
                features,
                extract_features(encode, queries, verbose=0),
                num_classes=dataset.num_classes,
            )
            scores |= {"knn_top1": knn["top1"], "knn_bank": bank.num_examples}
        found = diagnose_collapse(embeddings, kind="embedding")
        # Full collapse is seen, and said, in every epoch.
        few = found["state"] == "dimensional collapse"
        return scores, f"Dimensional collapse. {found['text']}" if few else None

    return score


def _embeddings(model, representations):
    """What the loss sees, in inference mode, as float32 `(N, width)`."""
    if model.projector is None:
        return representations
    rows = model.projector(representations, training=False)
    return tf.cast(rows, tf.float32).numpy()


def _export(model, settings, dataset, run, step_before):
    """The finished encoder as a SavedModel, unless it is there already."""
    newest = newest_version(run.encoder)
    if newest is not None and step_before == int(model.step.numpy()):
        return newest
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32")
    try:
        # The policy is part of a layer: an encoder of float32 layers is built anew.
        encoder = build_encoder(settings, dataset)
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    encoder.set_weights(model.encoder.get_weights())
    return export_savedmodel(
        encoder,
        run.encoder,
        dataset.example_shape,
        class_names=dataset.class_names,
        recipe=run.flags.read_text() if run.flags.exists() else None,
        columns=dataset.columns,
    )


def _loss_weights(settings):
    values = dataclasses.asdict(settings)
    return {name: values[name] for name in losses.WEIGHTS}


def _make_views(settings, dataset):
    if dataset.columns is None:
        return make_views(settings.views, **settings.group("image views"))
    return make_table_views(
        settings.views,
        dataset.train.sample(_MARGINAL_ROWS, seed=0).read(),
        dataset.columns,
        **settings.group("table views"),
    )


def _first_line(error):
    return str(error).strip().splitlines()[0]


def _say(line):
    print(line, file=sys.stderr, flush=True)
