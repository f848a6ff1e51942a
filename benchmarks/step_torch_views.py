"""The `cifar` pair's views in plain PyTorch, on the CPU, a whole batch at a time.

What torchvision's transforms do to an image, drawn for each image by itself: a random
resized crop (antialiased bicubic, as PIL's), flip, color jitter in a random order,
gray, solarize. Of what was tried this took the least CPU time: crops by two products
with matrices of resampling weights, looked up by the box (grid_sample, which does not
antialias, took twice as much, interpolating crop by crop three times); each operation
of the jitter on the images whose turn it is (image by image took seven times as much,
all images at every turn two and a half times).
"""

import math

import torch

_TRIES = 10  # torchvision's, before a crop falls back to all of the image
_SETTINGS = ("crop_scale", "crop_ratio", "flip_probability", "brightness", "contrast")
_SETTINGS += (
    "saturation",
    "hue",
    "jitter_probability",
    "grayscale_probability",
    "solarize_probability",
    "solarize_threshold",
)
_GRAY = torch.tensor([[0.299, 0.587, 0.114]])


class View:
    """Random views of a batch of images.

    Args:
        plan: Has the options of `vicreg_keras.views.named_views`, by their names.
        side: of the images, in pixels.
        new_side: of the views.
    """

    def __init__(self, plan: dict[str, torch.Tensor], side: int, new_side: int):
        self.settings = {name: plan[name].tolist() for name in _SETTINGS}
        self.side, self.new_side = side, new_side
        starts = torch.arange(side).repeat(side)
        lengths = torch.arange(1, side + 1).repeat_interleave(side)
        self.weights = resampling_weights(starts, lengths, side, new_side)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Returns float32 `(batch, 3, height, width)` of uint8 NHWC images."""
        planes = self.crop_and_flip(images)
        self.jitter(planes)
        gray = drawn(len(planes), self.settings["grayscale_probability"])
        planes[gray] = gray_of(planes[gray]).expand(-1, 3, -1, -1)
        bright = drawn(len(planes), self.settings["solarize_probability"])
        chosen = planes[bright]
        threshold = self.settings["solarize_threshold"]
        planes[bright] = torch.where(chosen >= threshold, 255 - chosen, chosen)
        return planes

    def crop_and_flip(self, images: torch.Tensor) -> torch.Tensor:
        num_images = len(images)
        tops, lefts, heights, widths = self.boxes(num_images)
        rows = self.weights[(heights - 1) * self.side + tops]
        columns = self.weights[(widths - 1) * self.side + lefts]
        mirrored = drawn(num_images, self.settings["flip_probability"])
        columns[mirrored] = columns[mirrored].flip(1)
        lines = images.float().view(num_images, self.side, self.side * 3)
        lines = torch.bmm(rows, lines).view(num_images, self.new_side, self.side, 3)
        planes = lines.permute(0, 3, 1, 2).reshape(num_images, -1, self.side)
        planes = torch.bmm(planes, columns.mT)
        shape = (num_images, 3, self.new_side, self.new_side)
        return planes.view(shape).clamp_(0, 255)

    def boxes(self, num_images: int) -> tuple[torch.Tensor, ...]:
        """Returns tops, lefts, heights and widths as torchvision draws them."""
        low, high = self.settings["crop_scale"]
        areas = uniform((_TRIES, num_images), low, high) * self.side**2
        low, high = self.settings["crop_ratio"]
        ratios = uniform((_TRIES, num_images), math.log(low), math.log(high)).exp()
        widths = (areas * ratios).sqrt().round().long()
        heights = (areas / ratios).sqrt().round().long()
        fits = torch.maximum(widths, heights) <= self.side
        first = fits.byte().argmax(dim=0, keepdim=True)
        found = fits.any(dim=0)
        widths = torch.where(found, widths.gather(0, first)[0], self.side)
        heights = torch.where(found, heights.gather(0, first)[0], self.side)
        places = [
            (torch.rand(num_images) * (self.side - length + 1)).long()
            for length in (heights, widths)
        ]
        return *places, heights, widths

    def jitter(self, planes: torch.Tensor):
        """Changes colors in place: four operations, in an order an image."""
        order = torch.rand(len(planes), 4).argsort(dim=1)
        order[torch.rand(len(planes)) >= self.settings["jitter_probability"]] = -1
        operations = (brightness, contrast, saturation, hue)
        strengths = [self.settings[operation.__name__] for operation in operations]
        for turn in order.T:
            for number, operation in enumerate(operations):
                mine = (turn == number).nonzero()[:, 0]
                planes[mine] = operation(planes[mine], strengths[number])


def brightness(planes: torch.Tensor, strength: float) -> torch.Tensor:
    return (planes * factors(planes, strength)).clamp_(0, 255)


def contrast(planes: torch.Tensor, strength: float) -> torch.Tensor:
    mean = (planes.mean(dim=(2, 3)) @ _GRAY.T)[:, :, None, None]
    return torch.lerp(mean, planes, factors(planes, strength)).clamp_(0, 255)


def saturation(planes: torch.Tensor, strength: float) -> torch.Tensor:
    mixed = torch.lerp(gray_of(planes), planes, factors(planes, strength))
    return mixed.clamp_(0, 255)


def hue(planes: torch.Tensor, strength: float) -> torch.Tensor:
    """RGB to HSV, hue + turns, and back; hue counted in sixths of the circle."""
    red, green, blue = planes.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    per_chroma = 1 / chroma.clamp(min=1e-6)
    sixths = torch.where(
        value == red,
        (green - blue) * per_chroma,
        torch.where(
            value == green,
            ((blue - red) * per_chroma).add_(2),
            ((red - green) * per_chroma).add_(4),
        ),
    )
    sixths += uniform((len(planes), 1, 1), -6 * strength, 6 * strength)
    sixths = sixths[:, None] + torch.tensor([5.0, 3.0, 1.0]).view(3, 1, 1)
    sixths.sub_((sixths * (1 / 6)).floor_(), alpha=6)
    ramp = torch.minimum(sixths, 4 - sixths).clamp_(0, 1)
    return torch.addcmul(value[:, None], chroma[:, None], ramp, value=-1)


def resampling_weights(
    starts: torch.Tensor, lengths: torch.Tensor, size: int, new_size: int
) -> torch.Tensor:
    """Returns PIL's bicubic weights `(boxes, new_size, size)`, antialiased.

    Those of a box that leaves the image are cut off there; none is drawn.
    """
    starts, lengths = starts[:, None, None], lengths[:, None, None]
    pixels, new_pixels = torch.arange(size), torch.arange(new_size)[:, None]
    scale = lengths / new_size
    centers = starts + (new_pixels + 0.5) * scale
    distance = (pixels + 0.5 - centers).abs() / scale.clamp(min=1)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, far) * (distance < 2)
    weights *= (pixels >= starts) & (pixels < starts + lengths)
    return weights / weights.sum(dim=-1, keepdim=True)


def gray_of(planes: torch.Tensor) -> torch.Tensor:
    return (_GRAY @ planes.flatten(2)).unflatten(2, planes.shape[2:])


def factors(planes: torch.Tensor, strength: float) -> torch.Tensor:
    return uniform((len(planes), 1, 1, 1), max(0.0, 1 - strength), 1 + strength)


def uniform(shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape)


def drawn(count: int, probability: float) -> torch.Tensor:
    """Returns the places of those that a coin of this probability falls on."""
    return (torch.rand(count) < probability).nonzero()[:, 0]
