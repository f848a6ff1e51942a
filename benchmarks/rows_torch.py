"""PyTorch's contender of `benchmarks.rows`: a plain loop, a process of its own.

    PYTHON_WITH_TORCH -m benchmarks.rows_torch FOLDER

Needs torch and numpy alone. Reads `rows.npy` and `plan.npz`, in which
`benchmarks/rows_keras.py` has left its model, weights included, and is told what to do
as that is. The learning rate stands still, where the package's rises and falls.
"""

import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.contender import serve


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    start = time.perf_counter()
    rows = torch.from_numpy(np.load(folder / "rows.npy"))
    with np.load(folder / "plan.npz") as file:
        plan = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
    model = Model(plan)
    greeting = {
        "version": f"PyTorch {torch.__version__}",
        "read_seconds": time.perf_counter() - start,
        "num_rows": len(rows),
    }
    greeting |= check(model, plan)
    # Fused is the quickest of its three.
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=plan["learning_rate"].item(),
        weight_decay=plan["weight_decay"].item(),
        fused=True,
    )
    view = View(plan)
    batches = shuffled(rows, int(plan["batch_size"]))
    serve(greeting, {"train": lambda n: train(model, optimizer, view, batches, n)})


class Model(nn.Module):
    """Scaling, encoder and projector, with the weights of the plan."""

    def __init__(self, plan: dict[str, torch.Tensor]):
        super().__init__()
        self.numbers, self.indicators = plan["numbers"], plan["indicators"]
        self.mean = plan["mean"][self.numbers]
        self.std = plan["std"][self.numbers]
        # A place and a code for each category of each column.
        counts = plan["num_categories"]
        self.places = plan["categories"].repeat_interleave(counts)
        self.codes = torch.cat([torch.arange(count) for count in counts.tolist()])
        width = len(self.numbers) + len(self.indicators) + len(self.codes)
        self.layers = nn.Sequential(
            nn.Linear(width, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, 512, bias=False),
        )
        with torch.no_grad():
            for i, parameter in enumerate(self.layers.parameters()):
                weight = plan[f"weight_{i}"]
                parameter.copy_(weight.T if weight.ndim == 2 else weight)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        numbers = (rows[:, self.numbers] - self.mean) / self.std
        parts = [
            torch.nan_to_num(numbers),
            torch.isnan(rows[:, self.indicators]).float(),
            (rows[:, self.places] == self.codes).float(),
        ]
        return self.layers(torch.cat(parts, dim=1))


class View:
    """Noise on numbers, then entries replaced by those of other rows."""

    def __init__(self, plan: dict[str, torch.Tensor]):
        self.marginals = plan["marginals"]
        self.corruption = plan["corruption_probability"].item()
        self.spread = plan["noise_std"].float() * plan["std"]
        self.spread[plan["categories"]] = 0
        self.columns = torch.arange(self.marginals.shape[1])

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows + self.spread * torch.randn_like(rows)
        chosen = torch.randint(len(self.marginals), rows.shape)
        replaced = torch.rand_like(rows) < self.corruption
        return torch.where(replaced, self.marginals[chosen, self.columns], rows)


def vicreg_loss(z_a: torch.Tensor, z_b: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 of the paper, with the constants of facebookresearch/vicreg."""
    num_rows, width = z_a.shape
    loss = 25.0 * functional.mse_loss(z_a, z_b)
    for z in (z_a, z_b):
        z = z - z.mean(dim=0)
        variance = z.var(dim=0)
        std = torch.sqrt(variance + 1e-4)
        loss = loss + 25.0 * functional.relu(1 - std).mean() / 2
        # Both products have the same sum of squares; the package forms the smaller.
        product = z @ z.T if 2 * num_rows <= width else z.T @ z
        squares = (product / (num_rows - 1)).pow(2).sum() - variance.pow(2).sum()
        loss = loss + squares / width
    return loss


def shuffled(rows: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Yields batches for ever, in a new order each epoch."""
    while True:
        order = torch.randperm(len(rows))
        for start in range(0, len(rows) - batch_size + 1, batch_size):
            yield rows[order[start : start + batch_size]]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    view: Callable[[torch.Tensor], torch.Tensor],
    batches: Iterator[torch.Tensor],
    num_steps: int,
) -> dict[str, float]:
    """Trains the next steps; returns their seconds, and those of all cores."""
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(num_steps):
        batch = next(batches)
        loss = vicreg_loss(model(view(batch)), model(view(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "wait_seconds": 0.0,
    }


def check(model: Model, plan: dict[str, torch.Tensor]) -> dict[str, float]:
    """Returns loss and norm of the gradient of the plan's two views."""
    loss = vicreg_loss(model(plan["view_a"]), model(plan["view_b"]))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    squares = sum(gradient.pow(2).sum() for gradient in gradients)
    return {"loss": loss.item(), "gradient": squares.sqrt().item()}


if __name__ == "__main__":
    main()
