"""Images per second of the same work in PyTorch, on a GPU.

    python -m benchmarks.gpu.step_torch --batch_size=256 --steps=200

Needs torch and numpy alone. ResNet-18 with the CIFAR stem and the projector of the
recipe, two views of each image made on the GPU, VICReg's loss, AdamW; channels last,
bfloat16 by autocast, model and views compiled by `torch.compile`. One image is one pair
of views, as everywhere in benchmarks/. The views are those of
`benchmarks/step_torch_views.py`, without a step that waits for the GPU: every operation
of the jitter is done to all images, and kept for those whose turn it is.
"""

import argparse
import json
import time

import torch

from benchmarks import step_torch_views as views
from benchmarks.step_torch import Model, vicreg_loss

_SIDE = 32
# The `cifar` pair, see vicreg_keras/views/named_views.py.
_VIEWS = {
    "crop_scale": (0.2, 1.0),
    "crop_ratio": (3 / 4, 4 / 3),
    "flip_probability": 0.5,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "jitter_probability": 0.8,
    "grayscale_probability": 0.2,
    "solarize_probability": 0.1,
    "solarize_threshold": 128.0,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--projector", default="2048-2048-2048")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--num_images", type=int, default=45_000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no_compile", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_default_device(options.device)
    torch.set_float32_matmul_precision("high")
    print(json.dumps(measure(options)))


class View(views.View):
    """Random views of a batch of images, in operations of fixed shapes."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Returns float32 `(batch, 3, height, width)` of uint8 NHWC images."""
        planes = self.jitter(self.crop_and_flip(images))
        settings = self.settings
        gray = views.gray_of(planes).expand(-1, 3, -1, -1)
        planes = torch.where(
            coin(planes, settings["grayscale_probability"]), gray, planes
        )
        bright = planes >= settings["solarize_threshold"]
        bright &= coin(planes, settings["solarize_probability"])
        return torch.where(bright, 255 - planes, planes)

    def crop_and_flip(self, images: torch.Tensor) -> torch.Tensor:
        num_images = len(images)
        tops, lefts, heights, widths = self.boxes(num_images)
        rows = self.weights[(heights - 1) * self.side + tops]
        columns = self.weights[(widths - 1) * self.side + lefts]
        mirrored = torch.rand(num_images, 1, 1) < self.settings["flip_probability"]
        columns = torch.where(mirrored, columns.flip(1), columns)
        planes = images.permute(0, 3, 1, 2).float()
        planes = rows[:, None] @ planes @ columns.mT[:, None]
        return planes.clamp(0, 255)

    def jitter(self, planes: torch.Tensor) -> torch.Tensor:
        order = torch.rand(len(planes), 4).argsort(dim=1)
        chosen = torch.rand(len(planes), 1) < self.settings["jitter_probability"]
        order = torch.where(chosen, order, -1)
        operations = (views.brightness, views.contrast, views.saturation, views.hue)
        strengths = [self.settings[operation.__name__] for operation in operations]
        for turn in range(4):
            changed = planes
            for number, operation in enumerate(operations):
                mine = (order[:, turn] == number)[:, None, None, None]
                after = operation(planes.clone(), strengths[number])
                changed = torch.where(mine, after, changed)
            planes = changed
        return planes


def coin(planes: torch.Tensor, probability: float) -> torch.Tensor:
    return torch.rand(len(planes), 1, 1, 1) < probability


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Trains so many steps; returns images per second and the setting."""
    plan = {name: torch.tensor(value) for name, value in _VIEWS.items()}
    plan |= {"mean": torch.full((3,), 120.0), "std": torch.full((3,), 64.0)}
    width = 512
    for i, size in enumerate(map(int, options.projector.split("-")), start=1):
        plan[f"dense_{i}/kernel"] = torch.randn(width, size) / width**0.5
        width = size
    views._GRAY = views._GRAY.to(options.device)
    model = Model(plan, "resnet18", "cifar", "bfloat16", torch.channels_last)
    model.to(options.device)
    view = View(plan, _SIDE, _SIDE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def loss_of(batch):
        return vicreg_loss(model(view(batch)), model(view(batch)))

    compiled = loss_of if options.no_compile else torch.compile(loss_of)
    shape = (options.num_images, _SIDE, _SIDE, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    order = torch.randperm(options.num_images)
    per_epoch = options.num_images // options.batch_size

    def train(num_steps):
        for i in range(num_steps):
            first = i % per_epoch * options.batch_size
            batch = images[order[first : first + options.batch_size]]
            loss = compiled(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return loss.item()

    train(min(20, options.steps))  # Compiles, and fills caches.
    start = time.perf_counter()
    loss = train(options.steps)
    seconds = time.perf_counter() - start
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    return {
        "pytorch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else options.device,
        "batch_size": options.batch_size,
        "images_per_second": round(options.steps * options.batch_size / seconds, 1),
        "loss": round(loss, 4),
    }


if __name__ == "__main__":
    main()
