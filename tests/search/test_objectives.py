"""Objectives read training and validation splits only."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from vicreg_keras import make_encoder
from vicreg_keras.errors import InputError
from vicreg_keras.search import objectives


@pytest.mark.parametrize("name", list(objectives.OBJECTIVES))
@pytest.mark.parametrize("quick", [True, False])
def test_objective_does_not_read_the_test_split(name, quick, without_test):
    objectives.check_objective(name, without_test)
    dataset = without_test
    if quick:
        dataset = objectives.quick_subset(without_test, seed=0)
    encoder = make_encoder("tiny", (8, 8, 3))
    low, high = (1, 32) if name == "rankme" else (0.02, 1)
    assert low < objectives.OBJECTIVES[name].score(encoder, dataset) <= high


@pytest.mark.parametrize("name", ["rankme", "silhouette"])
def test_representations_that_are_not_finite_are_a_divergence(name, without_test):
    def encoder(images, training):
        return tf.fill((tf.shape(images)[0], 4), np.nan)

    with pytest.raises(FloatingPointError, match="finite"):
        objectives.OBJECTIVES[name].score(encoder, without_test)


def test_unsuitable_data_is_refused(digits, unlabeled):
    with pytest.raises(InputError, match="Choose one of objective=silhouette"):
        objectives.check_objective("knn", unlabeled)
    objectives.check_objective("silhouette", unlabeled)
    two = dataclasses.replace(digits, validation=digits.validation.take(range(2)))
    with pytest.raises(InputError, match="Raise validation_fraction"):
        objectives.check_objective("rankme", two)


def test_scores_are_printed_in_their_unit():
    assert objectives.OBJECTIVES["knn"].text([0.5]) == "50.00"
    assert objectives.OBJECTIVES["knn"].text([0.5, 0.51, 0.52]) == "51.00 ± 1.00"
    assert objectives.OBJECTIVES["rankme"].text([12.345]) == "12.35"
