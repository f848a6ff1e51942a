"""What a view of a row is: some of its numbers replaced, moved, mixed or missing.

`TableView` turns a batch of rows, raw as measured, into one random view of each;
`TABLE_VIEWS` names settings to start from, and `make_table_views` builds a pair. All
randomness comes from the seed a call is given: no layer holds random state.
"""

import base64
import io
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from vicreg_keras.data.columns import Column, table_statistics
from vicreg_keras.views import table_ops, table_settings
from vicreg_keras.views.table_settings import MAX_MARGINALS, reject

# An algorithm by name, so that every device draws the same numbers.
_ALGORITHM = "philox"


@keras.saving.register_keras_serializable(package="vicreg_keras")
class TableView(keras.layers.Layer):
    """One random view of each row of a batch.

    Mixed with another row, cropped, scaled, noisy, corrupted and masked, in that order.
    What is 0 (`min_crop`: 1) is left out and costs nothing, and leaving it out changes
    no other draw. Every row has its own draws. As with views of images, the work always
    runs in a function compiled by XLA: the same seed gives the same view wherever it is
    called. It computes in float32 whatever the dtype policy.

    Example:
    >>> view = TableView(marginals=rows[:4096], corruption_probability=0.3)
    >>> view(rows[:256], seed=(0, step)).shape
    (256, 30)

    Args:
        marginals: rows that replacements are drawn from, `(M, num_columns)` float32, at
            most `MAX_MARGINALS`, for they are part of the layer's config.
        std: each column's standard deviation, `(num_columns,)`, the unit of the noise.
        categorical: which columns hold categories, `(num_columns,)`; `None` for none.
        corruption_probability: that an entry is replaced by one that its column has in
            `marginals`, a category or a gap like any other.
        noise_std: standard deviation of Gaussian noise on numbers, in each column's
            `std`.
        masking_probability: that an entry becomes NaN, that is, missing.
        mixup: maximum share of another row of the batch, in `[0, 1]`; the share is
            uniform in `[0, mixup)`, and the probability of the other's category.
        scaling_std: standard deviation of a factor about 1, one per row and channel, by
            which a series is stretched about its own mean.
        min_crop: minimum length of a random window that is stretched to the full
            length, as a fraction of the series, in `(0, 1]`.
        num_channels: of the series that a row is, its columns `(steps, channels)` in C
            order; 0 where the columns are no series; `scaling_std` and `min_crop` need
            one.

    Call arguments:
        rows: `(batch, num_columns)`, raw: numbers, codes of categories, NaN for what
            is missing.
        seed: two integers, a stateless seed, `(2,)` int32 or int64. `None` draws one
            from TensorFlow's global stream (`keras.utils.set_random_seed` fixes it).
        training: with `False` the rows come back as they are, in float32.

    Raises:
        ValueError: for a value out of range, or one that another argument must go with.

    Reference:
        Those of `table_ops.corrupt`, `table_ops.mix` and `table_ops.scale_series`.
    """

    def __init__(
        self,
        marginals: np.ndarray | None = None,
        std: Sequence[float] | None = None,
        categorical: Sequence[bool] | None = None,
        corruption_probability: float = 0.0,
        noise_std: float = 0.0,
        masking_probability: float = 0.0,
        mixup: float = 0.0,
        scaling_std: float = 0.0,
        min_crop: float = 1.0,
        num_channels: int = 0,
        **kwargs,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self._settings = table_settings.check_settings(
            corruption_probability=corruption_probability,
            noise_std=noise_std,
            masking_probability=masking_probability,
            mixup=mixup,
            scaling_std=scaling_std,
            min_crop=min_crop,
            num_channels=num_channels,
        )
        self._marginals = table_settings.check_marginals(marginals)
        self._std = table_settings.check_std(std)
        self._categorical = table_settings.check_categorical(categorical)
        self._num_columns = table_settings.check_together(
            self._settings,
            marginals=self._marginals,
            std=self._std,
            categorical=self._categorical,
        )
        self.built = True  # there is nothing to build
        self._compiled = tf.function(self._augment, jit_compile=True, autograph=False)

    def call(
        self, rows: tf.Tensor, seed: tf.Tensor | None = None, training: bool = True
    ) -> tf.Tensor:
        rows = tf.cast(rows, tf.float32)
        if rows.shape.rank != 2 or self._num_columns not in (None, rows.shape[1]):
            reject(
                f"rows of shape (batch, {self._num_columns or 'num_columns'})",
                "rows.shape",
                tuple(rows.shape),
                "Give rows of the table that the view was made for.",
            )
        table_settings.check_series(self._settings["num_channels"], rows.shape[1])
        if not training:
            return self.without_randomness(rows)
        if seed is None:
            seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
        return self._compiled(rows, tf.cast(seed, tf.int64))

    def without_randomness(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns what stands for the view outside training: the rows."""
        return rows

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        return tuple(input_shape)

    def compute_output_spec(self, rows, seed=None, training=True):
        return keras.KerasTensor(self.compute_output_shape(rows.shape), "float32")

    def get_config(self) -> dict:
        std, categorical = self._std, self._categorical
        return {
            **super().get_config(),
            "marginals": _to_text(self._marginals),
            "std": None if std is None else std.tolist(),
            "categorical": None if categorical is None else categorical.tolist(),
            **self._settings,
        }

    @classmethod
    def from_config(cls, config: dict) -> "TableView":
        """The layer that `get_config` described."""
        return cls(**{**config, "marginals": _from_text(config["marginals"])})

    def _augment(self, rows, seed):
        settings = self._settings
        shape = tf.shape(rows)
        batch_size, num_columns = shape[0], rows.shape[1]
        categorical = self._categorical
        if categorical is None:
            categorical = np.zeros(num_columns, bool)
        # A seed for every step, used or not: leaving one out changes no other.
        seeds = tf.unstack(tf.random.split(seed, 7, alg=_ALGORITHM))
        if settings["mixup"]:
            rows = table_ops.mix(
                rows,
                categorical,
                _uniform([2, batch_size], seeds[0]),
                _uniform(shape, seeds[1]),
                settings["mixup"],
            )
        if settings["min_crop"] < 1:
            draws = _uniform([2, batch_size], seeds[2])
            rows = table_ops.crop_series(
                rows, settings["num_channels"], draws, settings["min_crop"]
            )
        if settings["scaling_std"]:
            draws = _normal([batch_size, settings["num_channels"]], seeds[3])
            factors = 1.0 + settings["scaling_std"] * draws
            rows = table_ops.scale_series(rows, settings["num_channels"], factors)
        if settings["noise_std"]:
            spread = np.where(categorical, 0, settings["noise_std"] * self._std)
            rows += spread.astype(np.float32) * _normal(shape, seeds[4])
        # After the noise: a replaced entry is one that its column really has.
        if settings["corruption_probability"]:
            draws = _uniform([2, batch_size, num_columns], seeds[5])
            rows = table_ops.corrupt(
                rows, self._marginals, draws, settings["corruption_probability"]
            )
        if settings["masking_probability"]:
            hidden = _uniform(shape, seeds[6]) < settings["masking_probability"]
            rows = tf.where(hidden, math.nan, rows)
        return rows


# Where to start from; what a table needs is found by trying.
TABLE_VIEWS: dict[str, dict] = {
    # SCARF's corruption, of both views and not of one alone, and a little noise.
    "table": {"corruption_probability": 0.3, "noise_std": 0.1},
    # Windows of a time series.
    "series": {
        "noise_std": 0.1,
        "scaling_std": 0.1,
        "min_crop": 0.5,
        "num_channels": 1,
    },
}


def make_table_views(
    name: str,
    rows: np.ndarray,
    columns: Sequence[Column],
    *,
    seed: int = 0,
    **overrides,
) -> tuple[TableView, TableView]:
    """Returns the layers of a named pair: the first view and the second.

    Args:
        name: a key of `TABLE_VIEWS`.
        rows: of the training split, `(N, num_columns)`, raw. The columns' spread is
            theirs, and values are replaced by those of at most `MAX_MARGINALS` of them.
        columns: of the table.
        seed: which of the rows those are, where there are more.
        **overrides: values of `TableView` for both views; `None` leaves the pair's own.

    Raises:
        ValueError: for a name, a setting or a value that does not exist, and for rows
            that are not of these columns.
    """
    settings = table_view_settings(name, **overrides)
    rows = np.asarray(rows)
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != len(columns):
        reject(
            f"rows of shape (N, {len(columns)}), N above 0",
            "rows.shape",
            rows.shape,
            "Give the training rows, one number a column.",
        )
    marginals = None
    if settings["corruption_probability"]:
        marginals = rows
        if len(rows) > MAX_MARGINALS:
            generator = np.random.default_rng(seed)
            marginals = rows[generator.choice(len(rows), MAX_MARGINALS, replace=False)]
    view = TableView(
        marginals,
        std=table_statistics(rows, columns).std,
        categorical=[column.categories is not None for column in columns],
        **settings,
    )
    # Both views are alike, so one layer serves for both and is compiled once.
    return view, view


def table_view_settings(name: str, **overrides) -> dict:
    """Every value of a named pair's views that is no column's own.

    Args:
        name: a key of `TABLE_VIEWS`.
        **overrides: settings of `TableView`; `None` leaves the pair's own.

    Raises:
        ValueError: for a name, a setting or a value that does not exist.
    """
    if name not in TABLE_VIEWS:
        names = ", ".join(TABLE_VIEWS)
        reject(f"one of {names}", "name", name, "Choose one of these.")
    for key, value in overrides.items():
        if key not in table_settings.ALL_OFF:
            reject(
                f"settings among {', '.join(table_settings.ALL_OFF)}",
                key,
                value,
                "Choose among these.",
            )
    given = {key: value for key, value in overrides.items() if value is not None}
    return table_settings.check_settings(
        **{**table_settings.ALL_OFF, **TABLE_VIEWS[name], **given}
    )


def _uniform(shape, seed):
    return tf.random.stateless_uniform(shape, seed, alg=_ALGORITHM)


def _normal(shape, seed):
    return tf.random.stateless_normal(shape, seed, alg=_ALGORITHM)


def _to_text(marginals: np.ndarray | None) -> str | None:
    # As a list, 4,096 rows of 100 columns take Keras seconds and JSON knows no NaN.
    if marginals is None:
        return None
    file = io.BytesIO()
    np.save(file, marginals, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _from_text(text: str | None) -> np.ndarray | None:
    if text is None:
        return None
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
