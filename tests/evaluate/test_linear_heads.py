"""Tests of linear classifiers that learn side by side."""

import numpy as np
import tensorflow as tf

from vicreg_keras.evaluate.linear_heads import LinearHeads

ROWS = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
LABELS = np.arange(20) % 3


def trained(learning_rates, decays=(1.0, 0.5, 0.1), weight_decay=1e-2):
    heads = LinearHeads(5, 3, learning_rates, weight_decay, seed=1)
    for decay in decays:
        losses = heads.update(tf.constant(ROWS), tf.constant(LABELS), decay)
    return heads.scores(ROWS), losses.numpy()


def test_every_head_learns_as_if_alone():
    together, losses = trained((0.1, 3.0))
    assert together.shape == (20, 2, 3)
    for head, rate in enumerate((0.1, 3.0)):
        alone, loss = trained((rate,))
        np.testing.assert_allclose(together[:, head], alone[:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(losses[head], loss[0], rtol=1e-5)


def test_heads_start_alike_and_as_their_seed_says():
    scores, losses = trained((0.1, 3.0), decays=(0.0,))
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])
    np.testing.assert_allclose(losses, np.log(3), atol=0.1)
    other = LinearHeads(5, 3, (0.1,), 0.0, seed=2).scores(ROWS)
    assert np.abs(other[:, 0] - scores[:, 0]).max() > 1e-3
