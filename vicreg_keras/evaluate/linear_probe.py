"""How well does logistic regression do on the representations of plain examples?

Two protocols, two names, because their numbers differ:

- `cached`: from all labels of the training split.
- `few_labels`: from a few labels a class, over several draws.

What is chosen is chosen by log loss on the validation part, which `load_dataset`
holds out of the training split, or within the few labels; the test labels only score
the end. Log loss and not top-1 accuracy, since a small part counts too few errors to
tell a good C from a bad one (LOG.md).
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from vicreg_keras.evaluate.accuracy import (
    ClassificationMetrics,
    check_features,
    top1_and_top5,
    top_k_accuracy,
)
from vicreg_keras.evaluate.features import Features
from vicreg_keras.evaluate.logistic import (
    MAX_ITERATIONS,
    TOLERANCE,
    Logistic,
    Problem,
    fit_logistic,
    fit_path,
    mean_and_std,
)

# Values of C, from strong to weak regularization.
REGULARIZATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

# A hundred examples need a looser rein than 45,000 to reach the same mean loss.
FEW_LABEL_REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class LinearHead(NamedTuple):
    """A linear classifier of representations as they come out of the encoder.

    Attributes:
        mean: `(D,)` float32, subtracted from every representation.
        scale: `(D,)` float32, which the difference is divided by.
        weights: `(D, num_classes)` float32.
        biases: `(num_classes,)` float32; `-inf` for a class without an example.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    biases: np.ndarray

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Logits `(N, num_classes)` float32 of representations `(N, D)`."""
        return (rows - self.mean) / self.scale @ self.weights + self.biases


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegularizationTrial:
    """A value of C that was tried.

    Attributes:
        C: Inverse regularization, as scikit-learn's `LogisticRegression` has it.
        validation_log_loss: Mean log loss on the validation split, in nats.
        validation_top1: Accuracy on the validation split in [0, 1].
        train_top1: Accuracy on the training examples in [0, 1].
        num_iterations: Iterations of L-BFGS.
        converged: Whether they sufficed.
    """

    C: float
    validation_log_loss: float
    validation_top1: float
    train_top1: float
    num_iterations: int
    converged: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeMetrics(ClassificationMetrics):
    """Accuracies of logistic regression.

    Attributes:
        validation_top1: Accuracy on the validation split in [0, 1], of the chosen fit
            on training examples alone.
    """

    validation_top1: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbeSettings:
    """How a logistic regression was chosen and fitted.

    Attributes:
        C: The chosen inverse regularization.
        converged: Whether the chosen and the final fit converged.
        sweep: The values of C that were tried, from strong to weak regularization.
        regularizations: The values of C that there were to try.
        max_iterations: Limit of each fit.
        tolerance: Gradient norm at which a fit ends.
        num_train: Labeled training examples.
        num_validation: Validation examples.
        num_test: Test examples.
        num_classes: Number of classes.
        representation_size: Width of the representations.
        labels_per_class: Labeled training examples of each class, where only a part of
            the labels is used.
        label_fraction: That part, in (0, 1].
    """

    C: float
    converged: bool
    sweep: tuple[RegularizationTrial, ...]
    regularizations: tuple[float, ...]
    max_iterations: int
    tolerance: float
    num_train: int
    num_validation: int
    num_test: int
    num_classes: int
    representation_size: int
    labels_per_class: tuple[int, ...] | None = None
    label_fraction: float | None = None


@dataclasses.dataclass(frozen=True)
class LinearProbeResult:
    """Result of `linear_probe` or `frozen_probe`."""

    metrics: LinearProbeMetrics
    settings: LinearProbeSettings


def fit_head(
    train: Features, validation: Features, *, num_classes: int
) -> tuple[LinearHead, dict]:
    """Multinomial logistic regression on representations, chosen on held-out labels.

    Every column is brought to mean 0 and standard deviation 1 with the training
    split's figures; nothing is whitened, so C means the same as in scikit-learn
    after its `StandardScaler`. C goes from strong to weak regularization, each fit
    starting at the one before, and stops once the log loss on the validation part no
    longer falls: the weakest take longest. The best is refitted on training and
    validation examples together, still with the training split's figures.

    The optimization is convex and starts at zero: there is no randomness, and no seed.

    Args:
        train: Labeled features, at least two classes.
        validation: Labeled features held out of training; C is chosen on them.
        num_classes: Labels are in `[0, num_classes)`.

    Returns:
        The head, and a dict that JSON can hold: `validation_top1` in [0, 1] (before
        the refit), the chosen `C`, the `path` of what was tried (`C`,
        `validation_log_loss` in nats, `validation_top1`, `train_top1`, `iterations`,
        `converged`), whether the chosen and the final fit `converged`, counts and
        settings.

    Raises:
        ValueError: If labels are missing or out of range, there are fewer than two
            classes, a value is not finite, or widths differ.
    """
    _check(num_classes, train=train, validation=validation)
    num_train = len(train.labels)

    # One array, standardized in place; the training rows are a view of its start.
    rows = np.concatenate(
        [train.representations, validation.representations], dtype=np.float32
    )
    labels = np.concatenate([train.labels, validation.labels])
    mean, scale = mean_and_std(rows[:num_train])
    rows -= mean
    rows /= scale

    problem = Problem(rows[:num_train], train.labels)
    path, chosen, chosen_fit = _chosen_on_validation(
        problem,
        Features(rows[:num_train], train.labels),
        Features(rows[num_train:], validation.labels),
        num_classes,
    )
    final = Problem(rows, labels, problem).fit(chosen["C"], chosen_fit)
    head = LinearHead(mean, scale, *final.coefficients(num_classes))
    return head, {
        "validation_top1": chosen["validation_top1"],
        "C": chosen["C"],
        "converged": chosen["converged"] and final.converged,
        "path": path,
        "regularizations": list(REGULARIZATIONS),
        "criterion": "log loss",
        "max_iterations": MAX_ITERATIONS,
        "tolerance": TOLERANCE,
        "standardized": True,
        "refitted_on": "train+validation",
        "num_train": num_train,
        "num_validation": len(validation.labels),
        "num_classes": num_classes,
        "representation_size": rows.shape[1],
    }


def cached_probe(
    train: Features,
    validation: Features,
    test: Features,
    *,
    num_classes: int,
    fitted: tuple[LinearHead, dict] | None = None,
) -> dict:
    """Test accuracy of the linear head that `fit_head` gives.

    Args:
        train: As of `fit_head`.
        validation: As of `fit_head`.
        test: Labeled features. A class that has no training example is counted as
            missed.
        num_classes: As of `fit_head`.
        fitted: What `fit_head` gave for these, where it is known already.

    Returns:
        A dict that JSON can hold: `top1`, `top5` (`None` for fewer than six classes)
        in [0, 1], `num_test`, `protocol`, and what `fit_head` says of its choice.

    Raises:
        ValueError: As `fit_head`.
    """
    _check(num_classes, train=train, validation=validation, test=test)
    head, numbers = fitted or fit_head(train, validation, num_classes=num_classes)
    return {
        "protocol": "cached",
        **top1_and_top5(head.scores(test.representations), test.labels),
        **numbers,
        "num_test": len(test.labels),
    }


def few_label_probe(
    train: Features,
    test: Features,
    *,
    num_classes: int,
    labels_per_class: int = 10,
    num_draws: int = 5,
    seed: int = 0,
) -> dict:
    """Test accuracy of logistic regression from a few labels a class, over draws.

    Only the drawn labels are used, for fitting and for choosing alike: C is chosen by
    stratified cross-validation inside the draw (up to five folds), since a choice on
    a whole validation split would spend more labels than it claims to have. With one
    label a class there is nothing to divide, and C is 1. Columns are standardized
    with the figures of all training representations, which needs no labels.

    Draw number `i` depends on labels and `seed + i` alone, so encoders of the same
    dataset are compared on the same examples.

    Args:
        train: Labeled features to draw from.
        test: Labeled features.
        num_classes: As in `cached_probe`.
        labels_per_class: Examples drawn of every class that `train` has.
        num_draws: How many draws.
        seed: Of the first draw.

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
    _check(num_classes, train=train, test=test)
    mean, scale = mean_and_std(train.representations)
    test_rows = (test.representations - mean) / scale

    draws = []
    for draw_seed in range(seed, seed + num_draws):
        picks = draw_balanced(train.labels, labels_per_class, draw_seed)
        rows = (train.representations[picks] - mean) / scale
        labels = train.labels[picks]
        value = 1.0
        if labels_per_class > 1:
            value = _cross_validated(rows, labels, min(5, labels_per_class), draw_seed)
        fit = fit_logistic(rows, labels, value)
        scores = fit.scores(test_rows, num_classes)
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
        "criterion": "log loss",
        "regularizations": list(FEW_LABEL_REGULARIZATIONS),
        "converged": all(draw["converged"] for draw in draws),
        "max_iterations": MAX_ITERATIONS,
        "tolerance": TOLERANCE,
        "num_train": len(picks),
        "num_test": len(test.labels),
        "num_classes": num_classes,
        "representation_size": train.representations.shape[1],
        "seed": seed,
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


def _check(num_classes: int, *, train: Features, **others: Features) -> None:
    """Checks splits together, before any work."""
    check_features("train", train, num_classes=num_classes)
    for name, features in others.items():
        width = train.representations.shape[1]
        check_features(name, features, num_classes=num_classes, width=width)
    if len(np.unique(train.labels)) < 2:
        raise ValueError(
            "Expected training examples of at least two classes. Received: only label "
            f"{train.labels[0]}. There is nothing to tell apart."
        )


def _chosen_on_validation(
    problem: Problem, train: Features, validation: Features, num_classes: int
) -> tuple[list[dict], dict, Logistic]:
    """What was tried of REGULARIZATIONS, the entry that was best, and its fit."""
    path, best, best_fit = [], None, None
    for fit in problem.path(REGULARIZATIONS):
        accuracies = {
            f"{name}_top1": top_k_accuracy(fit.scores(rows, num_classes), labels, 1)
            for name, (rows, labels) in (("validation", validation), ("train", train))
        }
        tried = {
            "C": fit.C,
            "validation_log_loss": fit.log_loss(*validation),
            **accuracies,
            "iterations": fit.iterations,
            "converged": fit.converged,
        }
        path.append(tried)
        key = "validation_log_loss"
        if best is not None and tried[key] >= best[key]:
            break
        best, best_fit = tried, fit
    return path, best, best_fit


def _cross_validated(
    rows: np.ndarray, labels: np.ndarray, num_folds: int, seed: int
) -> float:
    """The C with the least mean log loss over folds, the strongest of equals."""
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    losses = np.zeros(len(FEW_LABEL_REGULARIZATIONS))
    for inside, outside in folds.split(rows, labels):
        fits = fit_path(rows[inside], labels[inside], FEW_LABEL_REGULARIZATIONS)
        for number, fit in enumerate(fits):
            loss = fit.log_loss(rows[outside], labels[outside])
            losses[number] += loss * len(outside)
    return FEW_LABEL_REGULARIZATIONS[int(np.argmin(losses))]


def _mean_and_std(draws: list[dict], name: str) -> dict:
    """Mean and sample standard deviation of one number over draws."""
    values = [draw[name] for draw in draws]
    if None in values:
        return {name: None, f"{name}_std": None}
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {name: float(np.mean(values)), f"{name}_std": std}
