"""PyTorch's contender of `benchmarks.step`: a plain loop, a process of its own.

    PYTHON_WITH_TORCH -m benchmarks.step_torch FOLDER PRECISION LAYOUT

Needs torch and numpy alone. PRECISION is float32 or bfloat16 (autocast), LAYOUT is
channels_last or contiguous_format. Reads `images.npz`, `settings.json` and `plan.npz`,
which `benchmarks/step_keras.py` has written with its model, weights included. Views are
made by the process that trains: workers would take their cores from it.
"""

import json
import os
import pathlib
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.contender import serve
from benchmarks.step_torch_views import View

# Blocks a stage, and whether they are bottlenecks.
ENCODERS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}


def main():
    folder, precision = pathlib.Path(sys.argv[1]), sys.argv[2]
    layout = getattr(torch, sys.argv[3])
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    settings = json.loads((folder / "settings.json").read_text())
    with np.load(folder / "images.npz") as file:
        images = torch.from_numpy(file["images"])
    with np.load(folder / "plan.npz") as file:
        plan = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
    for name in ("view_a", "view_b"):
        plan[name] = plan[name].permute(0, 3, 1, 2)
    model = Model(plan, settings["encoder"], settings["stem"], precision, layout)
    greeting = {"version": f"PyTorch {torch.__version__}", **check(model, plan)}
    view = View(plan, side=images.shape[1], new_side=plan["view_a"].shape[2])
    optimizer = make_optimizer(model, plan)
    batches = shuffled(images, settings["batch_size"])
    serve(
        greeting,
        {
            "train": lambda n: train(model, optimizer, view, batches, n),
            "views": lambda n: {"seconds": seconds_of_views(view, next(batches), n)},
        },
    )


class Model(nn.Module):
    """Normalization, encoder and projector, with the weights of the plan.

    Layers bear the package's names, by which their weights are found.
    """

    def __init__(
        self,
        plan: dict[str, torch.Tensor],
        encoder: str,
        stem: str,
        precision: str,
        layout: torch.memory_format,
    ):
        super().__init__()
        self.register_buffer("mean", plan["mean"].view(3, 1, 1))
        self.register_buffer("std", plan["std"].view(3, 1, 1))
        self.precision, self.layout = precision, layout
        depths, bottleneck = ENCODERS[encoder]
        self.first = make_stem(stem)
        blocks, num_in = [], 64
        for stage, depth in enumerate(depths):
            for i in range(depth):
                name = f"stage{stage + 1}_block{i + 1}"
                stride = 2 if stage and not i else 1
                blocks.append(Block(name, num_in, 64 * 2**stage, stride, bottleneck))
                num_in = blocks[-1].num_out
        self.blocks = nn.Sequential(*blocks)
        self.projector = make_projector(plan)
        load(self, plan)
        self.to(memory_format=layout)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = ((pixels - self.mean) / self.std).contiguous(memory_format=self.layout)
        device, low = pixels.device.type, self.precision == "bfloat16"
        with torch.autocast(device, torch.bfloat16, low):
            maps = self.blocks(self.first(x))
            embeddings = self.projector(maps.mean(dim=(2, 3)))
        return embeddings.float()


class Block(nn.Module):
    """A basic block of torchvision's ResNet, or a bottleneck."""

    def __init__(
        self, name: str, num_in: int, width: int, stride: int, bottleneck: bool
    ):
        super().__init__()
        self.num_out = 4 * width if bottleneck else width
        shapes = [(width, 3, stride), (width, 3, 1)]
        if bottleneck:
            shapes = [(width, 1, 1), (width, 3, stride), (self.num_out, 1, 1)]
        branch, channels = OrderedDict(), num_in
        for i, (num_out, kernel, step) in enumerate(shapes, start=1):
            last = i == len(shapes)
            branch[f"{name}_{i}"] = convolution(channels, num_out, kernel, step)
            norm = f"{name}_last_norm" if last else f"{name}_{i}_norm"
            branch[norm] = nn.BatchNorm2d(num_out)
            if not last:
                branch[f"{name}_{i}_relu"] = nn.ReLU(inplace=True)
            channels = num_out
        shortcut = OrderedDict()
        if stride > 1 or num_in != self.num_out:
            shortcut[f"{name}_shortcut"] = convolution(num_in, self.num_out, 1, stride)
            shortcut[f"{name}_shortcut_norm"] = nn.BatchNorm2d(self.num_out)
        self.branch, self.shortcut = nn.Sequential(branch), nn.Sequential(shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = self.branch(x)
        joined += self.shortcut(x)
        return joined.relu_()


def make_stem(name: str) -> nn.Sequential:
    kernel, stride = (3, 1) if name == "cifar" else (7, 2)
    layers = OrderedDict(
        stem=convolution(3, 64, kernel, stride),
        stem_norm=nn.BatchNorm2d(64),
        stem_relu=nn.ReLU(inplace=True),
    )
    if name == "imagenet":
        layers["stem_pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def make_projector(plan: dict[str, torch.Tensor]) -> nn.Sequential:
    """Returns dense, batch norm, ReLU, ..., and a last plain dense without bias."""
    layers, i = OrderedDict(), 1
    while f"dense_{i}/kernel" in plan:
        inputs, width = plan[f"dense_{i}/kernel"].shape
        last = f"dense_{i + 1}/kernel" not in plan
        layers[f"dense_{i}"] = nn.Linear(inputs, width, bias=not last)
        if not last:
            layers[f"norm_{i}"] = nn.BatchNorm1d(width)
            layers[f"relu_{i}"] = nn.ReLU(inplace=True)
        i += 1
    return nn.Sequential(layers)


def convolution(num_in: int, num_out: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, kernel, stride, kernel // 2, bias=False)


@torch.no_grad()
def load(model: nn.Module, plan: dict[str, torch.Tensor]):
    """Gives the model's layers the plan's weights."""
    for path, layer in model.named_modules():
        name = path.rpartition(".")[2]
        if f"{name}/kernel" in plan:
            kernel = plan[f"{name}/kernel"]
            order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            layer.weight.copy_(kernel.permute(order))
        if f"{name}/gamma" in plan:
            layer.weight.copy_(plan[f"{name}/gamma"])
            layer.bias.copy_(plan[f"{name}/beta"])
        if f"{name}/bias" in plan:
            layer.bias.copy_(plan[f"{name}/bias"])


def make_optimizer(
    model: nn.Module, plan: dict[str, torch.Tensor]
) -> torch.optim.Optimizer:
    """Returns AdamW, fused, which does not decay parameters of one dimension."""
    matrices = [x for x in model.parameters() if x.ndim > 1]
    vectors = [x for x in model.parameters() if x.ndim == 1]
    decay = plan["weight_decay"].item()
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=plan["learning_rate"].item(),
        fused=True,
    )


def seconds_of_views(view: View, images: torch.Tensor, num_steps: int) -> float:
    """Returns how long both views of so many steps take by themselves."""
    start = time.perf_counter()
    for _ in range(num_steps):
        for _ in range(2):
            view(images)
    return time.perf_counter() - start


def vicreg_loss(z_a: torch.Tensor, z_b: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 of the paper, with the constants of facebookresearch/vicreg."""
    num_examples, width = z_a.shape
    loss = 25.0 * functional.mse_loss(z_a, z_b)
    for z in (z_a, z_b):
        z = z - z.mean(dim=0)
        variance = z.var(dim=0)
        std = torch.sqrt(variance + 1e-4)
        loss = loss + 25.0 * functional.relu(1 - std).mean() / 2
        # Both products have the same sum of squares; the package forms the smaller.
        product = z @ z.T if 2 * num_examples <= width else z.T @ z
        squares = (product / (num_examples - 1)).pow(2).sum() - variance.pow(2).sum()
        loss = loss + squares / width
    return loss


def shuffled(images: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Yields batches without end, in a new order in every epoch."""
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            yield images[order[start : start + batch_size]]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    view: View,
    batches: Iterator[torch.Tensor],
    num_steps: int,
) -> dict[str, float]:
    """Trains the next steps, and returns their seconds."""
    start = time.perf_counter()
    for _ in range(num_steps):
        batch = next(batches)
        loss = vicreg_loss(model(view(batch)), model(view(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"seconds": time.perf_counter() - start}


def check(model: nn.Module, plan: dict[str, torch.Tensor]) -> dict[str, float]:
    """Returns loss and norm of the gradient of the plan's two views."""
    loss = vicreg_loss(model(plan["view_a"]), model(plan["view_b"]))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    squares = sum(gradient.pow(2).sum() for gradient in gradients)
    return {"loss": loss.item(), "gradient": squares.sqrt().item()}


if __name__ == "__main__":
    main()
