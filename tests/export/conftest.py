"""An encoder as after training, small and of images of 8 x 8."""

import keras
import numpy as np
import pytest

from vicreg_keras.models import encoders


@pytest.fixture(scope="session")
def encoder():
    keras.utils.set_random_seed(0)
    encoder = encoders.make_encoder("tiny", (8, 8, 3))
    # Batch norm's statistics are not those of any batch.
    random = np.random.default_rng(0)
    encoder.set_weights(
        [w + random.uniform(0.1, 0.5, w.shape) for w in encoder.get_weights()]
    )
    return encoder
