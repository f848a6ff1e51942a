"""VICReg (Bardes, Ponce, LeCun, ICLR 2022) in Keras 3 and TensorFlow.

Learns an encoder of images or tables without labels, evaluates it, and exports it.
Public names are imported when they are first used, so that the command line can answer
before TensorFlow is loaded. To load a saved model, import its class first:

>>> from vicreg_keras import VICReg
>>> model = keras.models.load_model("model.keras")
"""

import importlib

_MODULES = {
    "data.dataset": ("load_dataset",),
    "errors": ("InputError",),
    "evaluate.features": ("extract_features",),
    "losses": (
        "covariance_loss",
        "embedding_std",
        "invariance_loss",
        "variance_loss",
        "vicreg_loss",
    ),
    "model": ("VICReg",),
    "models.encoders": ("ENCODERS", "make_encoder", "make_projector"),
    "models.pixel_range": ("PixelWarning",),
    "models.saved_encoder": ("load_encoder",),
    "training.finite": ("find_nonfinite",),
    "training.optim": ("LARS", "make_optimizer", "warmup_cosine"),
    "views.image_layers": (
        "RandomColorJitter",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHorizontalFlip",
        "RandomResizedCrop",
        "RandomSolarization",
    ),
    "views.named_views": ("TABLE_VIEWS", "VIEWS", "make_table_views", "make_views"),
    "views.view": ("View",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    return getattr(module, name)


def __dir__():
    return [*globals(), *__all__]
