"""VICReg (Bardes, Ponce, LeCun, ICLR 2022) in Keras 3 and TensorFlow.

Learns an encoder from images without labels, judges it, and hands it on.
"""

from vicreg_keras.augment import VIEWS, View, make_views
from vicreg_keras.data import load_dataset
from vicreg_keras.features import extract_features
from vicreg_keras.losses import (
    covariance_loss,
    embedding_std,
    invariance_loss,
    variance_loss,
    vicreg_loss,
)
from vicreg_keras.models import ENCODERS, make_encoder, make_projector
from vicreg_keras.optim import LARS, make_optimizer, warmup_cosine
from vicreg_keras.saved_encoder import load_encoder
from vicreg_keras.trainer import VICReg

__all__ = [
    "ENCODERS",
    "LARS",
    "VIEWS",
    "VICReg",
    "View",
    "covariance_loss",
    "embedding_std",
    "extract_features",
    "invariance_loss",
    "load_dataset",
    "load_encoder",
    "make_encoder",
    "make_optimizer",
    "make_projector",
    "make_views",
    "variance_loss",
    "vicreg_loss",
    "warmup_cosine",
]
