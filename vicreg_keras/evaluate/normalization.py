"""L2 normalization of representations, and standardization of their dimensions."""

import numpy as np
from sklearn.preprocessing import StandardScaler


def l2_normalize(representations: np.ndarray) -> np.ndarray:
    """Returns a float32 copy with vectors of length 1; vectors of zeros stay zero.

    Args:
        representations: `(N, D)` array, finite.
    """
    vectors = np.asarray(representations)
    # Scaled by the maximum first, so that squares neither overflow nor vanish.
    scale = np.abs(vectors).max(axis=1, keepdims=True)
    vectors = vectors / np.where(scale > 0, scale, 1)
    vectors = np.ascontiguousarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1)
    return vectors


def standardize(representations: np.ndarray) -> np.ndarray:
    """Returns a float32 copy whose dimensions have mean 0 and standard deviation 1.

    Constant dimensions become zeros.

    Args:
        representations: `(N, D)` array, finite.
    """
    scaled = StandardScaler().fit_transform(np.asarray(representations, np.float64))
    return scaled.astype(np.float32)
