"""What does an exported file cost, beside the encoder that it came from?

Differences are those of held-out examples. For accuracies test examples go through the
file; the linear head and the neighbors stay the encoder's own, as they do where an
index that a computer made is searched from a phone.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from vicreg_keras.evaluate.accuracy import top_k_accuracy
from vicreg_keras.evaluate.features import (
    compile_encoder,
    concatenate_features,
    extract_features,
)
from vicreg_keras.evaluate.knn import knn_accuracy, knn_eval
from vicreg_keras.figures import text_table
from vicreg_keras.figures.export import exported_files
from vicreg_keras.figures.style import save
from vicreg_keras.models.saved_encoder import variables_of
from vicreg_keras.modes.context import Context

_COMPARED_EXAMPLES = 256
_BATCH_SIZE = 32
_WARM_UP_CALLS, _TIMED_CALLS = 10, 100


class Comparison:
    """Held-out examples, and what the encoder says of them.

    Args:
        context: whose encoder a file is compared with.
    """

    def __init__(self, context):
        held_out = context.dataset.validation
        count = min(_COMPARED_EXAMPLES, held_out.num_examples)
        self._split = held_out.take(range(count))
        encode = compile_encoder(context.encoder, context.dataset.example_shape)
        self._expected = _rows(encode, self._split)

    def numbers(
        self,
        file: str,
        encoder: Callable[..., Any],
        *,
        tolerance: float | None = None,
        min_cosine: float | None = None,
    ) -> dict:
        """How far a file is from the encoder; what is too far is refused.

        Args:
            file: its name, for the message.
            encoder: that runs it.
            tolerance: largest difference, over the encoder's largest number.
            min_cosine: of an example's representations.

        Returns:
            A dict that JSON can hold: `max_difference`, `mean_difference`,
            `max_number`, `min_cosine` and `num_compared`.

        Raises:
            FloatingPointError: if it is farther than that.
        """
        expected, received = self._expected, _rows(encoder, self._split)
        differences = np.abs(received - expected)
        largest = float(np.abs(expected).max())
        lengths = np.linalg.norm(received, axis=1) * np.linalg.norm(expected, axis=1)
        products = (received.astype(np.float64) * expected).sum(axis=1)
        # Rows of zeros have no direction; two of them are the same.
        cosines = np.where(lengths > 0, products / np.maximum(lengths, 1e-30), 0)
        cosines = np.where((differences == 0).all(axis=1), 1, cosines)
        numbers = {
            "max_difference": float(differences.max()),
            "mean_difference": float(differences.mean()),
            "max_number": largest,
            "min_cosine": float(cosines.min()),
            "num_compared": len(expected),
        }
        share = numbers["max_difference"] / max(largest, 1e-12)
        if tolerance is not None and not share <= tolerance:
            raise _too_far(
                file,
                f"a difference of {tolerance:g} of the largest number "
                f"({largest:.3g}) or less",
                f"{share:.3g} of it",
            )
        if min_cosine is not None and not numbers["min_cosine"] >= min_cosine:
            raise _too_far(
                file,
                f"a cosine of {min_cosine} or more on every image",
                f"{numbers['min_cosine']:.6f}",
            )
        return numbers


def show_costs(context: Context, files: Sequence[tuple[dict, Any]]) -> list[dict]:
    """Measures accuracy and latency of files, and prints and draws all that is known.

    Args:
        context: whose encoder they hold.
        files: of each one `file`, `what`, `bytes` and what `Comparison.numbers` gave;
            and the encoder that runs it, with `run` from NumPy to NumPy.

    Returns:
        One dict for the encoder itself and one for each file, which JSON can hold:
        what was given, `milliseconds` and, with labels, `linear_top1` and `knn_top1`
        in [0, 1] and `num_test`.
    """
    encode = compile_encoder(context.encoder, context.dataset.example_shape)
    image = context.dataset.validation.read([0])
    judge = _accuracies(context)
    own = {
        "file": "the encoder",
        "bytes": _num_bytes(context.encoder),
        **judge(None),
        "milliseconds": _milliseconds(lambda: encode(image).numpy()),
    }
    rows = [own]
    for facts, encoder in files:
        print(f"{facts['file']}: test images through it...", flush=True)
        latency = _milliseconds(lambda encoder=encoder: encoder.run(image))
        rows.append({**facts, **judge(encoder), "milliseconds": latency})
    _print_table(context, rows)
    path = context.figure("export")
    if path is not None:
        drawn = [
            SimpleNamespace(
                **{"linear_top1": None, "knn_top1": None, "num_bytes": row["bytes"]}
                | row
            )
            for row in rows
        ]
        save(exported_files(drawn), path)
        print(f"Size, time and accuracy of each file: {path}")
    return rows


def _too_far(file, expected, received):
    return FloatingPointError(
        f"Expected {file} to give the encoder's numbers, with {expected}. Received: "
        f"{received}. Earlier versions were left as they are; choose other files "
        "(--quantization)."
    )


def _rows(encoder, split):
    return extract_features(
        encoder, split, batch_size=_BATCH_SIZE, verbose=0
    ).representations


def _accuracies(context) -> Callable[[Any], dict]:
    """Judges an encoder's test representations; without labels, nothing."""
    dataset = context.dataset
    if dataset.num_classes is None or dataset.test is None:
        return lambda encoder: {}
    splits = [context.features[name] for name in ("train", "validation", "test")]
    linear_head = context.head
    chosen = knn_eval(*splits, num_classes=dataset.num_classes).settings
    bank = concatenate_features(splits[:2])

    def judge(encoder):
        test = splits[2]
        if encoder is not None:
            test = extract_features(encoder, dataset.test, batch_size=_BATCH_SIZE)
        scores = linear_head.scores(test.representations)
        knn = knn_accuracy(
            bank,
            test,
            num_classes=dataset.num_classes,
            k=chosen.k,
            temperature=chosen.temperature,
        )
        return {
            "linear_top1": top_k_accuracy(scores, test.labels, 1),
            "knn_top1": knn.metrics.top1,
            "num_test": len(test.labels),
        }

    return judge


def _num_bytes(encoder):
    return sum(variable.numpy().nbytes for variable in variables_of(encoder))


def _milliseconds(call):
    """The median time of one call, after some that are not counted."""
    times = []
    for number in range(_WARM_UP_CALLS + _TIMED_CALLS):
        start = time.perf_counter()
        call()
        if number >= _WARM_UP_CALLS:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _print_table(context, rows):
    labeled = "linear_top1" in rows[0]
    compared = rows[1]
    print(
        f"Differences from the encoder on {compared['num_compared']} held-out images "
        f"of {context.dataset.name}, where its largest number is "
        f"{compared['max_number']:.3g}; milliseconds an image, one by one, median "
        f"of {_TIMED_CALLS}, {os.cpu_count()} threads."
    )
    if labeled:
        print(
            f"Top-1 accuracy in percent on {rows[0]['num_test']:,} test images, which "
            "alone go through the file: linear head and neighbors are the encoder's."
        )
    names = ("", "KiB", "largest", "mean", "least cosine", "linear", "kNN", "ms", "")
    cells = [names]
    for row in rows:
        compared = ("-", "-", "-")
        if "min_cosine" in row:
            compared = (
                f"{row['max_difference']:.2g}",
                f"{row['mean_difference']:.2g}",
                f"{row['min_cosine']:.6f}",
            )
        accuracies = (
            text_table.percent(row.get(k)) for k in ("linear_top1", "knn_top1")
        )
        size, latency = f"{row['bytes'] / 1024:,.0f}", f"{row['milliseconds']:.2f}"
        what = row.get("what", "its weights")
        cells.append((row["file"], size, *compared, *accuracies, latency, what))
    print(text_table.format_table(cells))
