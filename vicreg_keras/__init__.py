"""VICReg (Bardes, Ponce, LeCun, ICLR 2022) in Keras 3 and TensorFlow.

Learns an encoder from images without labels, judges it, and hands it on.
"""

from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.losses import (
    covariance_loss,
    embedding_std,
    invariance_loss,
    variance_loss,
    vicreg_loss,
)
from vicreg_keras.model import VICReg
from vicreg_keras.models.encoders import ENCODERS, make_encoder, make_projector
from vicreg_keras.models.saved_encoder import load_encoder
from vicreg_keras.training.optim import LARS, make_optimizer, warmup_cosine
from vicreg_keras.views.image_views import VIEWS, View, make_views

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
