"""Which dataset is read, and how it is split."""

import dataclasses
import pathlib
import unicodedata

from vicreg_keras.errors import InputError
from vicreg_keras.settings.options import Options, option

PATH_SCHEMES = ("csv", "folder", "npz", "parquet")


def column_name(text: str) -> str:
    """Returns a column's name as it is read: in NFC, blanks and line ends one blank."""
    text = unicodedata.normalize("NFC", text)
    return " ".join(text.replace("\ufeff", " ").split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """Which dataset is read, and how it is split; see `load_dataset`."""

    dataset: str = option(
        "digits",
        "Images: digits (always there), folder:PATH (subfolders are classes), "
        "npz:PATH, or a name of tensorflow-datasets such as cifar10. Tables: "
        "csv:PATH, parquet:PATH, npz:PATH, digits_table, breast_cancer, wine, iris.",
        group="data",
        fixed=False,  # The same data may be elsewhere: see `DataCard.fingerprint`.
    )
    data_dir: str | None = option(
        None,
        "Folder where tensorflow-datasets keeps its datasets.",
        group="data",
        fixed=False,
    )
    label_column: str | None = option(
        None, "Column of a CSV or Parquet file that holds the classes.", group="data"
    )
    drop_columns: tuple[str, ...] = option(
        (), "Columns of a CSV or Parquet file to leave out.", group="data"
    )
    categorical_columns: tuple[str, ...] = option(
        (),
        "Columns of a CSV or Parquet file whose values are categories, also where they "
        "are numbers, such as codes.",
        group="data",
    )
    numeric_columns: tuple[str, ...] = option(
        (),
        "Columns of a CSV or Parquet file that are numbers, also where whole numbers "
        "never repeat, as those of an identifier do.",
        group="data",
    )
    header: str = option(
        "first",
        "Where a CSV file names its columns: in its first line, or not at all.",
        choices=("first", "none"),
        group="data",
    )
    labels: str = option(
        "auto",
        "Whether images have labels where class folders or arrays of them are found; "
        "none reads the images alone.",
        choices=("auto", "none"),
        group="data",
    )
    unreadable: str = option(
        "refuse",
        "What becomes of image files that can't be read: refuse lists them and stops, "
        "skip leaves them out, up to a tenth of all.",
        choices=("refuse", "skip"),
        group="data",
    )
    image_size: int | None = option(
        None,
        "Height and width in pixels that images are resized to; by default they keep "
        "their size.",
        minimum=1,
        maximum=2**12,
        group="data",
    )
    validation_fraction: float = option(
        0.1,
        "Fraction of the training split held out for validation.",
        minimum=0,
        maximum=1,
        exclusive=("minimum", "maximum"),
        group="data",
    )
    memory_limit_gib: float = option(
        4.0,
        "Decoded images are held in memory up to this size, in GiB.",
        minimum=0,
        group="data",
        fixed=False,
    )

    def __post_init__(self):
        if self.label_column is not None:
            # Frozen, and one line in a flag file, which may name none.
            name = column_name(self.label_column) or None
            object.__setattr__(self, "label_column", name)
        for name in ("drop_columns", "categorical_columns", "numeric_columns"):
            names = tuple(map(column_name, getattr(self, name)))
            object.__setattr__(self, name, names)
        super().__post_init__()

    def path(self, *, is_folder: bool = False) -> pathlib.Path:
        """Returns the path that `dataset` names, as in `csv:PATH`.

        Args:
            is_folder: Whether it is a folder, rather than a file.

        Raises:
            InputError: If there is none.
        """
        scheme, _, location = self.dataset.partition(":")
        path = pathlib.Path(location).expanduser()
        if not location or not (path.is_dir() if is_folder else path.is_file()):
            raise InputError(
                f"Expected an existing {'folder' if is_folder else f'{scheme} file'}. "
                f"Received: dataset={self.dataset!r}. Use {scheme}:PATH."
            )
        return path

    def check_path(self) -> None:
        """Checks that what `dataset` names exists, before anything is loaded."""
        scheme = self.dataset.partition(":")[0]
        if scheme in PATH_SCHEMES:
            self.path(is_folder=scheme == "folder")
