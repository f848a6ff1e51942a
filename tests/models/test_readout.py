"""What is read out of an encoder: parts of its maps, and means over views."""

import types

import keras
import numpy as np
import pytest

from vicreg_keras.models.encoders import ENCODERS, make_encoder
from vicreg_keras.models.readout import PoolQuadrants, ReadOut

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("uint8")
SAVED = types.SimpleNamespace(folder="RUN/encoder/1", card=None, example_shape=None)


@pytest.mark.parametrize("shape", [(4, 6), (5, 3), (1, 1)])
def test_quadrants_share_the_middle_of_an_odd_side(shape):
    maps = np.random.default_rng(0).normal(size=(2, *shape, 7)).astype("float32")
    rows, columns = (
        [slice(0, -(-side // 2)), slice(side // 2, None)] for side in shape
    )
    expected = [maps[:, y, x].mean(axis=(1, 2)) for y in rows for x in columns]
    found = PoolQuadrants()(maps)
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_other_representations_are_of_the_same_weights(name):
    keras.utils.set_random_seed(0)
    pooled = make_encoder(name)
    quadrants, stages = (
        make_encoder(name, representation=one) for one in ("pool2x2", "stages")
    )
    for other in (quadrants, stages):
        other.set_weights(pooled.get_weights())
    plain, wide, all_stages = (
        one.predict(IMAGES, verbose=0) for one in (pooled, quadrants, stages)
    )
    assert wide.shape == (3, 4 * plain.shape[1])
    # The last stages are what is pooled.
    np.testing.assert_allclose(
        all_stages[:, -plain.shape[1] :], plain, rtol=1e-4, atol=1e-4
    )
    assert all_stages.shape[1] > plain.shape[1]


@pytest.mark.parametrize(("average", "num_views"), [("none", 1), ("flip", 2)])
def test_the_mean_over_mirror_images(average, num_views):
    encoder = make_encoder("tiny")
    views = [IMAGES, IMAGES[:, :, ::-1]][:num_views]
    expected = np.mean([encoder(one, training=False) for one in views], axis=0)
    found = ReadOut(encoder, SAVED, "pool", average)(IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_bag_has_six_crops_and_their_mirror_images():
    encoder = make_encoder("tiny")
    places = [(0, 0), (0, 4), (2, 2), (4, 0), (4, 4)]
    crops = [IMAGES, *(IMAGES[:, y : y + 28, x : x + 28] for y, x in places)]
    views = [view for crop in crops for view in (crop, crop[:, :, ::-1])]
    read_out = ReadOut(encoder, SAVED, "pool", "bag")
    assert read_out.read_out == f"pool, mean over {len(views)} views"
    expected = np.mean([encoder(one, training=False) for one in views], axis=0)
    np.testing.assert_allclose(read_out(IMAGES), expected, rtol=1e-5, atol=1e-5)
    again = read_out.reading_out(encoder)
    np.testing.assert_array_equal(again(IMAGES), read_out(IMAGES))
