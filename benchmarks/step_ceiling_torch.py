"""How fast are PyTorch's convolutions and matrix products by themselves?

    PYTHON_WITH_TORCH -m benchmarks.step_ceiling_torch FOLDER

As `benchmarks/step_ceiling_keras.py`. Convolutions are tried in both layouts.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.contender import serve

LAYOUTS = {
    "PyTorch": torch.contiguous_format,
    "PyTorch, channels last": torch.channels_last,
}


def main():
    torch.set_num_threads(os.cpu_count())
    operations = json.loads((pathlib.Path(sys.argv[1]) / "operations.json").read_text())
    serve(
        {},
        {
            precision: lambda n, dtype=precision: seconds_of_all(operations, dtype, n)
            for precision in ("float32", "bfloat16")
        },
    )


@torch.no_grad()
def seconds_of_all(operations: list[dict], dtype: str, num_calls: int) -> dict:
    """Returns the seconds of every call: an operation's part's, by who does it."""
    seconds = []
    for operation in operations:
        make = OPERATIONS[operation["kind"]]
        parts = make(getattr(torch, dtype), *operation["sizes"])
        seconds.append(
            {
                part: {
                    library: seconds_of(function, num_calls)
                    for library, function in parts[part].items()
                }
                for part in operation["parts"]
            }
        )
    return {"seconds": seconds}


def seconds_of(function: Callable, num_calls: int) -> list[float]:
    """Returns what each call takes, without the first, which compiles."""
    function()
    seconds = []
    for _ in range(num_calls):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def convolution(
    dtype: torch.dtype,
    batch: int,
    side: int,
    num_in: int,
    num_out: int,
    kernel: int,
    stride: int,
    padding: int,
) -> dict[str, dict[str, Callable]]:
    """Returns functions of a convolution's three parts, in both layouts."""
    parts = {"forward": {}, "by input": {}, "by kernel": {}}
    inputs = torch.randn(batch, num_in, side, side).to(dtype)
    weights = torch.randn(num_out, num_in, kernel, kernel).to(dtype)
    for library, layout in LAYOUTS.items():
        x = inputs.contiguous(memory_format=layout)
        w = weights.contiguous(memory_format=layout)
        upstream = functional.conv2d(x, w, stride=stride, padding=padding)

        def forward(x=x, w=w):
            return functional.conv2d(x, w, stride=stride, padding=padding)

        def backward(mask, x=x, w=w, upstream=upstream):
            sides = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0]
            return torch.ops.aten.convolution_backward(
                upstream, x, w, None, *sides, 1, mask
            )

        parts["forward"][library] = forward
        parts["by input"][library] = lambda b=backward: b([True, False, False])
        parts["by kernel"][library] = lambda b=backward: b([False, True, False])
    return parts


def dense(
    dtype: torch.dtype, batch: int, num_in: int, num_out: int
) -> dict[str, dict[str, Callable]]:
    """Returns functions of a dense layer's three parts."""
    inputs = torch.randn(batch, num_in).to(dtype)
    weights = torch.randn(num_out, num_in).to(dtype)
    outputs = torch.randn(batch, num_out).to(dtype)
    return {
        "forward": {"PyTorch": lambda: inputs @ weights.T},
        "by input": {"PyTorch": lambda: outputs @ weights},
        "by kernel": {"PyTorch": lambda: outputs.T @ inputs},
    }


def gram_matrix(
    dtype: torch.dtype, batch: int, width: int
) -> dict[str, dict[str, Callable]]:
    """Returns the two products of the covariance term, in float32 as the loss is."""
    del dtype
    rows, gram = torch.randn(batch, width), torch.randn(batch, batch)
    return {
        "forward": {"PyTorch": lambda: rows @ rows.T},
        "by input": {"PyTorch": lambda: gram @ rows},
    }


def covariance(
    dtype: torch.dtype, batch: int, width: int
) -> dict[str, dict[str, Callable]]:
    """Returns the same where there are more rows than columns."""
    del dtype
    rows, matrix = torch.randn(batch, width), torch.randn(width, width)
    return {
        "forward": {"PyTorch": lambda: rows.T @ rows},
        "by input": {"PyTorch": lambda: rows @ matrix},
    }


OPERATIONS = {
    "convolution": convolution,
    "dense": dense,
    "Gram matrix": gram_matrix,
    "covariance": covariance,
}


if __name__ == "__main__":
    main()
