"""How well does a linear classifier on frozen representations do?

Three protocols, three names, because their numbers differ:

- `cached`: logistic regression on the representations of the plain examples.
- `few_labels`: the same from a few labels a class, over several draws.
- `augmented`: the authors' protocol, SGD on representations of random crops.

What is chosen is chosen by top-1 accuracy on the validation part, which
`vicreg_keras.data` holds out of the training split, or within the few labels; the
test labels only score the end.
"""

import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from vicreg_keras.augment import View
from vicreg_keras.features import (
    Features,
    Progress,
    extract_features,
)

# scikit-learn's C: the inverse of the L2 penalty on a loss summed over examples.
REGULARISATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

# A hundred examples need a looser rein than 45,000 to reach the same mean loss.
FEW_LABEL_REGULARISATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

# 0.3 is the authors' for ImageNet; widths and scales of representations differ.
LEARNING_RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

_TOLERANCE = 1e-4  # Largest entry of the gradient of the mean loss.
_MAX_ITERATIONS = 300
_PATIENCE = 2
_PATIENCE_LARGE = 1
_LARGE_ENTRIES = 2**26  # 45,000 rows of 1,491: raw CIFAR pixels are more.
_MOMENTUM = 0.9
_MANY_ENTRIES = 2**22  # Above, a fit lasts long enough for several threads to pay.


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of examples whose label is among the `k` best scores.

    Ties are shared: where `h` classes score higher than the label and `t`, itself
    included, score the same, the example counts `(k - h) / t`, kept within [0, 1].
    That is the mean over all orders of the tied classes, so the order of classes
    is no help, and constant scores give `k / num_classes`, which is chance.

    Args:
        scores: `(N, num_classes)` logits, votes or probabilities; `-inf` for a class
            that was never seen, which is never right.
        labels: `(N,)` integers in `[0, num_classes)`.
        k: At least 1. `k` of `num_classes` or more counts every label with a score.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: If shapes do not match, `k` is below 1, a label is out of range,
            or a score is NaN.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ValueError(
            "Expected scores (N, num_classes) and labels (N,), N above 0. Received: "
            f"scores.shape={scores.shape}, labels.shape={labels.shape}"
        )
    if k < 1:
        raise ValueError(f"Expected k of at least 1. Received: k={k}")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f"Expected labels in [0, {scores.shape[1]}). Received: labels from "
            f"{labels.min()} to {labels.max()}"
        )
    if np.isnan(scores).any():
        raise ValueError("Expected scores that are numbers. Received: NaN")
    own = scores[np.arange(len(labels)), labels][:, np.newaxis]
    higher = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    share = np.clip((k - higher) / tied, 0.0, 1.0)
    return float(np.where(np.isneginf(own[:, 0]), 0.0, share).mean())


def cached_probe(
    train: Features,
    validation: Features,
    test: Features,
    *,
    seed: int = 0,
    regularisations: Sequence[float] = REGULARISATIONS,
    num_classes: int | None = None,
    max_iterations: int = _MAX_ITERATIONS,
) -> dict:
    """Test accuracy of multinomial logistic regression on representations.

    Every column is brought to mean 0 and standard deviation 1 with the training
    split's figures; nothing is whitened, so C means the same as in scikit-learn
    after its `StandardScaler`. C goes from strong to weak regularisation, each fit
    starting at the one before, and stops once two in a row do no better on the
    validation part (one, where the training array has more than 2^26 entries: the
    weakest take longest, and so large a set leaves little to chance). The best, the
    strongest of equals, is refitted on training and validation examples together,
    still with the training split's figures, and tested once.

    The optimisation is convex and starts at zero: it has no randomness, so `seed` is
    only noted in the result.

    Args:
        train: Labelled features, at least two classes.
        validation: Labelled features held out of training; C is chosen on them.
        test: Labelled features.
        seed: The run's seed, for the record.
        regularisations: The values of C tried.
        num_classes: Number of classes; by default the highest label of the three
            plus one. A label that has no training example is counted as missed.
        max_iterations: L-BFGS iterations for one C.

    Returns:
        A dict that JSON can hold: `top1`, `top5` (`None` for fewer than six classes)
        and `validation_top1` in [0, 1], the chosen `C`, the `path` of what was tried
        (`C`, `validation_top1`, `train_top1`, `iterations`, `converged`), whether the
        final fit `converged`, and `protocol`, counts and settings. `validation_top1`
        is the chosen C's before the refit.

    Raises:
        ValueError: If labels are missing or out of range, there are fewer than two
            classes, a value is not finite, or widths differ.
    """
    values = _checked_regularisations(regularisations)
    num_classes = _checked_splits(train, validation, test, num_classes)
    num_train = len(train.labels)

    # One array, standardised in place; the training rows are a view of its start.
    rows = np.concatenate([train.representations, validation.representations])
    rows = rows.astype(np.float32, copy=False)
    labels = np.concatenate([train.labels, validation.labels])
    mean, scale = moments(rows[:num_train])
    rows -= mean
    rows /= scale

    large = num_train * rows.shape[1] > _LARGE_ENTRIES
    patience = _PATIENCE_LARGE if large else _PATIENCE
    path, best, best_fit, fit = [], None, None, None
    for value in values:
        fit = fit_logistic(
            rows[:num_train], train.labels, value, fit, max_iterations=max_iterations
        )
        scores = fit.scores(rows[num_train:], num_classes)
        train_scores = fit.scores(rows[:num_train], num_classes)
        path.append(
            {
                "C": value,
                "validation_top1": top_k_accuracy(scores, validation.labels, 1),
                "train_top1": top_k_accuracy(train_scores, train.labels, 1),
                "iterations": fit.iterations,
                "converged": fit.converged,
            }
        )
        if best is None or path[-1]["validation_top1"] > path[best]["validation_top1"]:
            best, best_fit = len(path) - 1, fit
        if len(path) - 1 - best >= patience:
            break

    chosen = path[best]
    final = fit_logistic(
        rows, labels, chosen["C"], best_fit, max_iterations=max_iterations
    )
    del rows
    test_rows = (test.representations - mean) / scale
    return {
        "protocol": "cached",
        **top1_and_top5(final.scores(test_rows, num_classes), test.labels),
        "validation_top1": chosen["validation_top1"],
        "C": chosen["C"],
        "converged": chosen["converged"] and final.converged,
        "path": path,
        "regularisations": values,
        "patience": patience,
        "max_iterations": max_iterations,
        "tolerance": _TOLERANCE,
        "standardised": True,
        "refitted_on": "train+validation",
        "num_train": num_train,
        "num_validation": len(validation.labels),
        "num_test": len(test.labels),
        "num_classes": num_classes,
        "representation_size": train.representations.shape[1],
        "seed": int(seed),
    }


def few_label_probe(
    train: Features,
    test: Features,
    *,
    labels_per_class: int = 10,
    num_draws: int = 5,
    seed: int = 0,
    regularisations: Sequence[float] = FEW_LABEL_REGULARISATIONS,
    num_classes: int | None = None,
    max_iterations: int = _MAX_ITERATIONS,
) -> dict:
    """Test accuracy of logistic regression from a few labels a class, over draws.

    Only the drawn labels are used, for fitting and for choosing alike: C is chosen by
    stratified cross-validation inside the draw (up to five folds), since a choice on
    a whole validation split would spend more labels than it claims to have. With one
    label a class there is nothing to divide, and C is 1. Columns are standardised
    with the figures of all training representations, which needs no labels.

    Draw number `i` depends on labels and `seed + i` alone, so encoders of the same
    data set are compared on the same examples.

    Args:
        train: Labelled features to draw from.
        test: Labelled features.
        labels_per_class: Examples drawn of every class that `train` has.
        num_draws: How many draws.
        seed: Of the first draw.
        regularisations: The values of C tried.
        num_classes: As in `cached_probe`.
        max_iterations: L-BFGS iterations for one C.

    Returns:
        A dict that JSON can hold: mean `top1` and `top5` in [0, 1] (`top5` is `None`
        for fewer than six classes), `top1_std` and `top5_std` over draws (with N - 1;
        `None` for one draw), `draws` with each one's numbers, and the settings.

    Raises:
        ValueError: If a class has fewer examples than asked for, or as `cached_probe`.
    """
    if labels_per_class < 1 or num_draws < 1:
        raise ValueError(
            "Expected at least one label a class and one draw. Received: "
            f"labels_per_class={labels_per_class}, num_draws={num_draws}"
        )
    values = _checked_regularisations(regularisations)
    num_classes = _checked_splits(train, test, test, num_classes)
    mean, scale = moments(train.representations)
    test_rows = (test.representations - mean) / scale

    draws = []
    for draw_seed in range(seed, seed + num_draws):
        picks = draw_balanced(train.labels, labels_per_class, draw_seed)
        rows = (train.representations[picks] - mean) / scale
        # The best weights are a sum of the rows, so rotating to the rows' own space
        # changes nothing but the time it takes.
        basis = np.linalg.qr(rows.T)[0] if len(rows) < rows.shape[1] else None
        rows = rows if basis is None else rows @ basis
        labels = train.labels[picks]
        value = _cross_validated(rows, labels, values, draw_seed, max_iterations)
        fit = fit_logistic(rows, labels, value, max_iterations=max_iterations)
        scores = fit.scores(
            test_rows if basis is None else test_rows @ basis, num_classes
        )
        draws.append(
            {
                "seed": draw_seed,
                "C": value,
                "converged": fit.converged,
                **top1_and_top5(scores, test.labels),
            }
        )
    return {
        "protocol": "few_labels",
        **_mean_and_std(draws, "top1"),
        **_mean_and_std(draws, "top5"),
        "labels_per_class": labels_per_class,
        "num_draws": num_draws,
        "draws": draws,
        "C_chosen_by": "fixed" if labels_per_class == 1 else "cross-validation",
        "regularisations": values,
        "converged": all(draw["converged"] for draw in draws),
        "max_iterations": max_iterations,
        "tolerance": _TOLERANCE,
        "num_train": len(picks),
        "num_test": len(test.labels),
        "num_classes": num_classes,
        "representation_size": train.representations.shape[1],
        "seed": int(seed),
    }


def draw_balanced(labels: np.ndarray, labels_per_class: int, seed: int) -> np.ndarray:
    """Indices of as many examples of every class, drawn without replacement.

    Args:
        labels: `(N,)` integers.
        labels_per_class: How many of each.
        seed: Which draw.

    Returns:
        int64 array, class after class.

    Raises:
        ValueError: If a class has fewer.
    """
    random = np.random.default_rng(seed)
    picks = []
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        if len(members) < labels_per_class:
            raise ValueError(
                f"Expected {labels_per_class} training examples of every class. "
                f"Received: {len(members)} with label {label}. Ask for fewer "
                "(--few_labels), or 0 to leave this out."
            )
        picks.append(random.choice(members, labels_per_class, replace=False))
    return np.concatenate(picks)


def augmented_probe(
    encoder: Callable[..., Any],
    train: Any,
    validation: Any,
    test: Any,
    num_classes: int,
    *,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rates: Sequence[float] = LEARNING_RATES,
    weight_decay: float = 1e-6,
    seed: int = 0,
    view: Callable[..., tf.Tensor] | None = None,
    verbose: int | bool = 1,
) -> dict:
    """Test accuracy of the authors' linear evaluation: SGD on random crops.

    The encoder is frozen and in inference mode. Every training image is cropped and
    flipped anew each epoch, encoded, and classified by one linear head a learning
    rate: all heads start alike and learn from the same representations, so that one
    pass of the encoder serves them all. The head that is best on the validation part
    after the last epoch is tested once.

    SGD with momentum 0.9 and PyTorch's weight decay (added to the gradient, biases
    included); the learning rate falls along a cosine, constant within an epoch;
    weights start at N(0, 0.01^2), biases at 0; the loss is the softmax cross-entropy
    of logits. Evaluation is on the plain examples.

    Args:
        encoder: Called as `encoder(images, training=False)`. Its variables are left
            bit for bit as they were.
        train: Labelled `vicreg_keras.data.Split`.
        validation: Labelled split, or its `Features`; the head is chosen on it.
        test: Labelled split, or its `Features`.
        num_classes: Labels are in `[0, num_classes)`.
        epochs: At least 1. What does not fill a batch at an epoch's end, a different
            part in each, is left out.
        batch_size: Images a batch; more than there are become all of them.
        learning_rates: One head for each.
        weight_decay: 0 or more.
        seed: Of the heads' start, the order of images and their views.
        view: Called as `view(images, seed=int32[2])`, uint8 in, float32 in [0, 255]
            out. By default `crop_and_flip()`, as the authors have it; give
            `crop_and_flip(flip=0)` where a flip changes the class.
        verbose: 0 is silent; otherwise images a second and the time left.

    Returns:
        A dict that JSON can hold: `top1`, `top5` (`None` for fewer than six classes)
        and `validation_top1` in [0, 1], the chosen `learning_rate`, `path` (each
        head's `learning_rate`, `validation_top1` and last epoch's mean `loss`), and
        `protocol`, counts and settings.

    Raises:
        ValueError: If a split has no labels or they are out of range, a setting is
            out of range, or no head ended with finite logits.

    Reference:
        `evaluate.py` of facebookresearch/vicreg at commit 4e12602 with
        `--weights freeze`. Differs from it: several learning rates instead of 0.3,
        chosen on a validation part; the last epoch counts, where the authors report
        the best epoch on the images that they report; images are read at one size,
        so there is no resizing by 256 / 224 before a centre crop.
    """
    _check_augmented_settings(epochs, batch_size, learning_rates, weight_decay)
    _check_labels("train", train.labels, num_classes)
    if view is None:
        view = crop_and_flip()
    # Computed first: whatever is wrong with them shows before the long part.
    held_out = {}
    for name, split in (("validation", validation), ("test", test)):
        if not isinstance(split, Features):
            split = extract_features(
                encoder, split, batch_size=batch_size, verbose=verbose
            )
        check_features(name, split, num_classes=num_classes)
        held_out[name] = split

    width = held_out["test"].representations.shape[1]
    heads = _Heads(width, num_classes, learning_rates, weight_decay, seed)
    losses = _train_heads(
        heads,
        encoder,
        train,
        view,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        verbose=verbose,
    )

    scores = heads.scores(held_out["validation"].representations)
    path = [
        {
            "learning_rate": float(rate),
            "validation_top1": _accuracy_or_none(
                scores[:, head], held_out["validation"].labels
            ),
            "loss": float(losses[head]) if math.isfinite(losses[head]) else None,
        }
        for head, rate in enumerate(learning_rates)
    ]
    best = _best_head(path)
    scores = heads.scores(held_out["test"].representations)[:, best]
    return {
        "protocol": "augmented",
        **top1_and_top5(scores, held_out["test"].labels),
        "validation_top1": path[best]["validation_top1"],
        "learning_rate": path[best]["learning_rate"],
        "path": path,
        "learning_rates": [float(rate) for rate in learning_rates],
        "epochs": epochs,
        "batch_size": batch_size,
        "momentum": _MOMENTUM,
        "weight_decay": float(weight_decay),
        "view": _described(view),
        "num_train": train.num_examples,
        "num_validation": len(held_out["validation"].labels),
        "num_test": len(held_out["test"].labels),
        "num_classes": num_classes,
        "representation_size": width,
        "seed": int(seed),
    }


def crop_and_flip(flip: float = 0.5) -> View:
    """The view of the authors' linear evaluation: no colours, no blur.

    Args:
        flip: Probability of a horizontal flip; 0 where it changes the class.
    """
    return View(
        crop_scale=(0.08, 1.0),
        crop_ratio=(3 / 4, 4 / 3),
        flip=flip,
        jitter=0.0,
        grey=0.0,
        blur=0.0,
        solarize=0.0,
    )


def top1_and_top5(scores: np.ndarray, labels: np.ndarray) -> dict:
    """`top1` and `top5`; the latter `None` where five classes or fewer make it 1."""
    top5 = top_k_accuracy(scores, labels, 5) if scores.shape[1] > 5 else None
    return {"top1": top_k_accuracy(scores, labels, 1), "top5": top5}


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, float32 of shape `(D,)`.

    A constant column gets a deviation of 1, and so becomes a column of zeros.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    variance = np.zeros_like(mean)
    for start in range(0, len(rows), 4096):
        deviation = rows[start : start + 4096] - mean
        variance += np.square(deviation).sum(axis=0)
    scale = np.sqrt(variance / len(rows))
    # What float32 cannot tell from its mean is rounding, not a signal to blow up.
    constant = scale <= 1e-6 * np.abs(mean)
    scale[constant] = 1.0
    return mean.astype(np.float32), scale.astype(np.float32)


class Logistic(NamedTuple):
    """A fitted classifier.

    Attributes:
        weights: `(D, C)` float32, for the `C` classes that had examples.
        biases: `(C,)` float32.
        classes: `(C,)` labels, ascending.
        iterations: How many L-BFGS took.
        converged: Whether it reached the tolerance.
        estimator: scikit-learn's own object, where the next fit starts.
    """

    weights: np.ndarray
    biases: np.ndarray
    classes: np.ndarray
    iterations: int
    converged: bool
    estimator: LogisticRegression

    def scores(self, rows: np.ndarray, num_classes: int) -> np.ndarray:
        """Logits `(N, num_classes)`, `-inf` for classes without training examples."""
        logits = np.full((len(rows), num_classes), -np.inf, np.float32)
        logits[:, self.classes] = rows @ self.weights + self.biases
        return logits


def fit_logistic(
    rows: np.ndarray,
    labels: np.ndarray,
    C: float,
    start: Logistic | None = None,
    *,
    max_iterations: int = _MAX_ITERATIONS,
) -> Logistic:
    """Multinomial logistic regression with an L2 penalty on weights, not biases.

    Args:
        rows: `(N, D)` float32, standardised.
        labels: `(N,)` integers, at least two classes.
        C: scikit-learn's inverse regularisation.
        start: A fit on the same classes to start from.
        max_iterations: L-BFGS iterations; that they did not suffice is noted in
            `converged` and not warned about.

    Returns:
        The fit.
    """
    estimator = LogisticRegression(
        C=C, tol=_TOLERANCE, max_iter=max_iterations, warm_start=True
    )
    if start is not None and np.array_equal(start.classes, np.unique(labels)):
        estimator.coef_ = start.estimator.coef_
        estimator.intercept_ = start.estimator.intercept_
        estimator.classes_ = start.estimator.classes_
    with (
        warnings.catch_warnings(record=True) as caught,
        threadpool_limits(_threads(rows)),
    ):
        warnings.simplefilter("always", ConvergenceWarning)
        estimator.fit(rows, labels)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    weights, biases = estimator.coef_.T, estimator.intercept_
    if len(estimator.classes_) == 2:
        # scikit-learn keeps only the second of two classes' logits.
        weights = np.concatenate([-weights / 2, weights / 2], axis=1)
        biases = np.concatenate([-biases / 2, biases / 2])
    return Logistic(
        weights.astype(np.float32, copy=False),
        biases.astype(np.float32, copy=False),
        estimator.classes_,
        int(estimator.n_iter_[0]),
        converged,
        estimator,
    )


def _threads(rows: np.ndarray) -> dict[str, int]:
    """Limits of threads for a fit.

    The pools of OpenMP and of BLAS wait for each other in busy loops: on two cores
    with other work, small fits took fifty times longer and large ones four times
    longer with them than without. Large fits take half of many cores.
    """
    large = rows.size > _MANY_ENTRIES
    return {"openmp": 1, "blas": max(1, (os.cpu_count() or 1) // 2) if large else 1}


def check_features(
    name: str,
    features: Features,
    *,
    num_classes: int | None = None,
    width: int | None = None,
) -> None:
    """Refuses features that no classifier can use.

    Args:
        name: What they are called in messages.
        features: Representations `(N, D)` and labels `(N,)`.
        num_classes: Labels must be below it, where given.
        width: `D` must be it, where given.

    Raises:
        ValueError: If labels are missing or out of range, shapes do not match, there
            is no example, or a value is NaN or infinite.
    """
    rows = features.representations
    _check_labels(name, features.labels, num_classes)
    if rows.ndim != 2 or len(rows) != len(features.labels):
        raise ValueError(
            f"Expected {name} representations of shape ({len(features.labels)}, D), "
            f"one row a label. Received: shape={rows.shape}"
        )
    if width is not None and rows.shape[1] != width:
        raise ValueError(
            f"Expected {name} representations {width} wide, like the training ones. "
            f"Received: shape={rows.shape}. Both must come from one encoder."
        )
    # A sum is finite only if every term is, and needs no second array; one that
    # overflows is looked at closely.
    if not np.isfinite(rows.sum(dtype=np.float64)) and not np.isfinite(rows).all():
        raise ValueError(
            f"Expected finite {name} representations. Received: NaN or infinity in "
            f"{(~np.isfinite(rows)).any(axis=1).sum()} of {len(rows)} rows."
        )


def _check_labels(name: str, labels: Any, num_classes: int | None) -> None:
    """Refuses labels that are missing, empty or out of range."""
    if labels is None:
        raise ValueError(
            f"Expected labels for {name}. Received: labels=None. This evaluation needs "
            "a labelled data set."
        )
    if np.ndim(labels) != 1 or not len(labels):
        raise ValueError(
            f"Expected {name} labels of shape (N,), N above 0. Received: "
            f"shape={np.shape(labels)}"
        )
    lowest, highest = int(np.min(labels)), int(np.max(labels))
    if lowest < 0 or (num_classes is not None and highest >= num_classes):
        raise ValueError(
            f"Expected {name} labels in [0, {num_classes or 'num_classes'}). Received: "
            f"labels from {lowest} to {highest}"
        )


def _checked_splits(
    train: Features, validation: Features, test: Features, num_classes: int | None
) -> int:
    """Checks the three splits together, and gives the number of classes."""
    width = np.shape(train.representations)[-1]
    splits = {"train": train, "validation": validation, "test": test}
    for name, features in splits.items():
        check_features(name, features, num_classes=num_classes, width=width)
    if len(np.unique(train.labels)) < 2:
        raise ValueError(
            "Expected training examples of at least two classes. Received: only label "
            f"{train.labels[0]}. There is nothing to tell apart."
        )
    if num_classes is not None:
        return int(num_classes)
    return int(max(features.labels.max() for features in splits.values())) + 1


def _checked_regularisations(values: Sequence[float]) -> list[float]:
    """The values of C in ascending order: from strong to weak regularisation."""
    values = sorted(float(value) for value in values)
    if not values or not all(0 < value < math.inf for value in values):
        raise ValueError(
            "Expected positive finite values of C. Received: "
            f"regularisations={tuple(values)}"
        )
    return values


def _cross_validated(
    rows: np.ndarray,
    labels: np.ndarray,
    values: Sequence[float],
    seed: int,
    max_iterations: int,
) -> float:
    """The C with the best mean accuracy over folds, the strongest of equals."""
    num_folds = min(5, int(np.bincount(labels)[labels].min()))
    if num_folds < 2:
        return 1.0
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    num_classes = int(labels.max()) + 1
    correct = np.zeros(len(values))
    for inside, outside in folds.split(rows, labels):
        fit = None
        for number, value in enumerate(values):
            fit = fit_logistic(
                rows[inside], labels[inside], value, fit, max_iterations=max_iterations
            )
            scores = fit.scores(rows[outside], num_classes)
            accuracy = top_k_accuracy(scores, labels[outside], 1)
            correct[number] += accuracy * len(outside)
    # Rounded, so that equals stay equal after adding in another order.
    return float(values[int(np.argmax(np.round(correct, 6)))])


def _mean_and_std(draws: list[dict], name: str) -> dict:
    """Mean and sample standard deviation of one number over draws."""
    values = [draw[name] for draw in draws]
    if None in values:
        return {name: None, f"{name}_std": None}
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {name: float(np.mean(values)), f"{name}_std": std}


def _check_augmented_settings(
    epochs: int, batch_size: int, learning_rates: Sequence[float], weight_decay: float
) -> None:
    if epochs < 1 or batch_size < 1 or weight_decay < 0:
        raise ValueError(
            "Expected at least one epoch, one image a batch and no negative weight "
            f"decay. Received: epochs={epochs}, batch_size={batch_size}, "
            f"weight_decay={weight_decay}"
        )
    if not learning_rates or not all(0 < rate < math.inf for rate in learning_rates):
        raise ValueError(
            "Expected positive finite learning rates. Received: "
            f"learning_rates={tuple(learning_rates)}"
        )


class _Heads:
    """Linear classifiers that learn side by side, one a learning rate.

    The loss is the sum of theirs, so each one's gradient is as if it were alone.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        learning_rates: Sequence[float],
        weight_decay: float,
        seed: int,
    ):
        num_heads = len(learning_rates)
        start = tf.random.stateless_normal(
            (width, 1, num_classes), seed=(seed, 0), stddev=0.01
        )
        self.num_classes, self.num_heads = num_classes, num_heads
        self._rates = tf.constant(learning_rates, tf.float32)[:, tf.newaxis]
        self._weight_decay = weight_decay
        self._weights = tf.Variable(tf.tile(start, (1, num_heads, 1)))
        self._biases = tf.Variable(tf.zeros((num_heads, num_classes)))
        self._variables = (self._weights, self._biases)
        self._velocities = [tf.Variable(tf.zeros_like(v)) for v in self._variables]

    def logits(self, representations: tf.Tensor) -> tf.Tensor:
        """`(N, D)` to `(N, heads, classes)`."""
        flat = tf.reshape(
            self._weights, (-1, self.num_heads * self.num_classes)
        )  # (D, heads * classes)
        logits = tf.matmul(representations, flat)
        return tf.reshape(logits, (-1, self.num_heads, self.num_classes)) + self._biases

    def update(
        self, representations: tf.Tensor, labels: tf.Tensor, decay: tf.Tensor
    ) -> tf.Tensor:
        """One step of SGD as PyTorch's; the loss of each head, `(heads,)`."""
        with tf.GradientTape() as tape:
            logits = self.logits(representations)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.repeat(labels[:, tf.newaxis], self.num_heads, axis=1),
                logits=logits,
            )
            losses = tf.reduce_mean(losses, axis=0)
            total = tf.reduce_sum(losses)
        gradients = tape.gradient(total, self._variables)
        for variable, velocity, gradient in zip(
            self._variables, self._velocities, gradients, strict=True
        ):
            gradient += self._weight_decay * variable
            velocity.assign(_MOMENTUM * velocity + gradient)
            variable.assign_sub(decay * self._rates * velocity)
        return losses

    def scores(self, representations: np.ndarray) -> np.ndarray:
        """`(N, heads, classes)` logits of representations in memory."""
        return self.logits(tf.constant(representations, tf.float32)).numpy()


def _train_heads(
    heads: _Heads,
    encoder: Callable[..., Any],
    train: Any,
    view: Callable[..., tf.Tensor],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    verbose: int | bool,
) -> np.ndarray:
    """Trains all heads; the mean loss of each over the last epoch, `(heads,)`."""
    batch_size = min(batch_size, train.num_examples)
    steps_per_epoch = train.num_examples // batch_size
    batches = iter(train.labelled_training_batches(batch_size, seed=seed))
    step = _training_step(heads, encoder, view, batches.element_spec, seed)

    progress = Progress(epochs * steps_per_epoch * batch_size, verbose=verbose)
    for epoch in range(epochs):
        # The authors' scheduler steps once an epoch.
        decay = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        losses = tf.zeros(heads.num_heads)
        for number in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
            images, labels = next(batches)
            losses += step(images, labels, tf.constant(number), tf.constant(decay))
            progress.add(len(images))
    progress.close()
    return losses.numpy() / steps_per_epoch


def _training_step(
    heads: _Heads,
    encoder: Callable[..., Any],
    view: Callable[..., tf.Tensor],
    element_spec: tuple[tf.TensorSpec, tf.TensorSpec],
    seed: int,
) -> Callable[..., tf.Tensor]:
    """A `tf.function` from a batch to the heads' losses, which updates the heads."""
    images_spec, labels_spec = element_spec
    batch = images_spec.shape[0]

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *images_spec.shape[1:]), images_spec.dtype),
            tf.TensorSpec((None,), labels_spec.dtype),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.float32),
        ],
        jit_compile=False,
    )
    def step(images, labels, number, decay):
        # A batch of known size lets a view be compiled for it.
        images.set_shape((batch, *images_spec.shape[1:]))
        crops = view(images, seed=tf.stack([seed, number]))
        representations = tf.cast(encoder(crops, training=False), tf.float32)
        return heads.update(tf.stop_gradient(representations), labels, decay)

    return step


def _accuracy_or_none(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Top-1 accuracy, or `None` for a head that has diverged."""
    return top_k_accuracy(scores, labels, 1) if np.isfinite(scores).all() else None


def _best_head(path: list[dict]) -> int:
    """The head with the best validation accuracy; the first of equals."""
    finite = [
        head for head, tried in enumerate(path) if tried["validation_top1"] is not None
    ]
    if not finite:
        rates = [tried["learning_rate"] for tried in path]
        raise ValueError(
            "Expected a learning rate with which the linear classifier stays finite. "
            f"Received: learning_rates={rates}, all of which diverged. Try lower ones."
        )
    return max(finite, key=lambda head: path[head]["validation_top1"])


def _described(view: Callable[..., tf.Tensor]) -> Any:
    """What a view is, in a form that JSON can hold."""
    config = view.get_config() if hasattr(view, "get_config") else {}
    # Keras's own entries; the name counts the layers made before.
    config = {
        key: value
        for key, value in config.items()
        if key not in ("name", "trainable", "dtype")
    }
    name = getattr(view, "__name__", type(view).__name__)
    try:
        config = json.loads(json.dumps(config))  # Tuples become lists.
    except TypeError:
        config = str(config)
    return {"name": name, "config": config}
