"""Options, each defined once; nothing heavy is imported."""

from vicreg_keras.settings.data import DataOptions
from vicreg_keras.settings.recipe import Settings

__all__ = ["DataOptions", "Settings"]
