"""Options, each defined once; nothing heavy is imported."""

from vicreg_keras.settings.data import DataOptions
from vicreg_keras.settings.options import (
    check_given,
    check_options,
    fields,
    free_names,
    item_types,
    kind_of,
    option,
    parse_widths,
    to_flags,
)
from vicreg_keras.settings.recipe import (
    ENCODERS,
    IMAGE_VIEWS,
    INPUT,
    TABLE_ENCODERS,
    TABLE_VIEWS,
    Settings,
)

__all__ = [
    "ENCODERS",
    "IMAGE_VIEWS",
    "INPUT",
    "TABLE_ENCODERS",
    "TABLE_VIEWS",
    "DataOptions",
    "Settings",
    "check_given",
    "check_options",
    "fields",
    "free_names",
    "item_types",
    "kind_of",
    "option",
    "parse_widths",
    "to_flags",
]
