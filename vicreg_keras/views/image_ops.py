"""Operations on pixels: pure functions of float32 image batches.

Images are `(batch, height, width, channels)` with values in `[0, 255]`. Every parameter
has one value per image, and nothing is random: the caller draws the random numbers. All
of it compiles under XLA; colors are processed as planes, which vectorize where
interleaved triples do not.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

INTERPOLATIONS = ("bilinear", "bicubic")
_CROP_TRIES = 10  # torchvision's, before a crop falls back to the center
NUM_CROP_DRAWS = 2 * _CROP_TRIES + 2
_BLENDS = ("brightness", "contrast", "saturation")
_GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R 601, as PIL's "L"


def crop_boxes(
    draws: tf.Tensor,
    size: tuple[int, int],
    scale: Sequence[float],
    ratio: Sequence[float],
) -> dict[str, tf.Tensor]:
    """Returns torchvision's `RandomResizedCrop` boxes, from uniform numbers.

    Area uniform, ratio log-uniform, ten tries for a box that fits and a uniform place
    for it; else the largest centered box whose ratio is allowed.

    Args:
        draws: `(NUM_CROP_DRAWS, batch)`, uniform in `[0, 1)`.
        size: Height and width of the images.
        scale: Minimum and maximum area, as fractions of the image's.
        ratio: Minimum and maximum width / height.

    Returns:
        `top`, `left`, `height`, `width`: each `(batch,)`, whole pixels in float32.
    """
    height, width = (tf.cast(n, tf.float32) for n in size)
    low, high = ratio
    areas = scale[0] + (scale[1] - scale[0]) * draws[:_CROP_TRIES]
    areas *= height * width
    log_ratios = math.log(high / low) * draws[_CROP_TRIES : 2 * _CROP_TRIES]
    ratios = low * tf.exp(log_ratios)
    widths = tf.round(tf.sqrt(areas * ratios))  # (tries, batch)
    heights = tf.round(tf.sqrt(areas / ratios))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits & (tf.cumsum(tf.cast(fits, tf.int32), axis=0) == 1)
    found = tf.reduce_any(fits, axis=0)
    # The largest box whose ratio is allowed is all of most images.
    highest = tf.where(width / height < low, tf.round(width / low), height)
    widest = tf.where(width / height > high, tf.round(height * high), width)

    def place(sides, side, fallback, draw):
        chosen = tf.reduce_sum(tf.where(first, sides, 0.0), axis=0)
        chosen = tf.where(found, chosen, fallback)
        room = side - chosen
        start = tf.minimum(tf.floor(draw * (room + 1.0)), room)
        return tf.where(found, start, tf.floor(room / 2.0)), chosen

    top, box_height = place(heights, height, highest, draws[-2])
    left, box_width = place(widths, width, widest, draws[-1])
    return {"top": top, "left": left, "height": box_height, "width": box_width}


def crop_and_resize(
    images: tf.Tensor,
    box: Mapping[str, tf.Tensor],
    size: tuple[int, int],
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Returns each image's box, resized with antialiasing as PIL resizes it.

    Equal to `Image.crop(...).resize(...)` in PIL's float mode, and to torchvision's
    `resized_crop(antialias=True)`: pixels outside the box have no influence.

    Args:
        images: `(batch, height, width, channels)`.
        box: `top`, `left`, `height`, `width`: each `(batch,)`, whole pixels.
        size: Height and width of the result.
        interpolation: `"bilinear"`, or `"bicubic"` (PIL's a = -0.5), whose overshoot
            is clipped to `[0, 255]`.

    Returns:
        `(batch, *size, channels)`.
    """
    height, width = height_and_width(images)
    resized = _apply_rows_and_columns(
        images,
        _resampling(box["top"], box["height"], height, size[0], interpolation),
        _resampling(box["left"], box["width"], width, size[1], interpolation),
    )
    if interpolation == "bicubic":
        resized = tf.clip_by_value(resized, 0.0, 255.0)
    return resized


def gaussian_blur(images: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Returns each image blurred by its own Gaussian, edges reflected.

    The kernel is the sampled Gaussian at full length, where torchvision cuts it at a
    given `kernel_size` and PIL takes three box blurs for it.

    Args:
        images: `(batch, height, width, channels)`.
        sigma: Standard deviation in pixels, `(batch,)`, above 0.
    """
    height, width = height_and_width(images)
    rows = _gaussian(sigma, height)
    columns = rows if height is width else _gaussian(sigma, width)
    return _apply_rows_and_columns(images, rows, columns)


def color_jitter(images: tf.Tensor, jitter: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns images with brightness, contrast, saturation and hue changed in turn.

    The operations are torchvision's on `[0, 255]`, clipped after each one but not
    rounded: a brightness, contrast or saturation factor f gives `f x + (1 - f) y`
    with y black, the mean of the gray image, or the gray image; hue turns the HSV
    circle. Any of the four may be absent.

    The order differs from image to image without control flow: three of them are one
    blend with different weights, so every turn is one cheap pass. All turns are done
    once before the hue, for the images whose hue comes later, and once after it, for
    the others.

    Args:
        images: `(batch, height, width, 3)`, or 1 channel where neither saturation
            nor hue is given.
        jitter: Any of `brightness`, `contrast`, `saturation` (factors, `(batch,)`,
            at least 0) and `hue` (turns, `(batch,)`), and for each of them
            `<name>_turn`, `(batch,)`: 0 for the image's first operation, 1 for its
            second, and so on.
    """
    planes = tf.transpose(images, [0, 3, 1, 2])  # (batch, channels, height, width)
    num_blends = sum(name in jitter for name in _BLENDS)
    hue_turn = jitter.get("hue_turn", num_blends)
    planes = _blend_in_turn(planes, jitter, range(num_blends), lambda t: t < hue_turn)
    if "hue" in jitter:
        planes = _turn_hue(planes, jitter["hue"])
        after = range(1, num_blends + 1)
        planes = _blend_in_turn(planes, jitter, after, lambda t: t > hue_turn)
    return tf.transpose(planes, [0, 2, 3, 1])


def where(chosen: tf.Tensor, changed: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns `changed` for the images chosen, a boolean `(batch,)`, else `images`."""
    return tf.where(_spread(chosen), changed, images)


def height_and_width(images: tf.Tensor) -> tuple:
    """Returns the images' height and width, as ints wherever they are known."""
    dynamic = tf.shape(images)
    height, width = images.shape[1:3]
    height = dynamic[1] if height is None else height
    return height, dynamic[2] if width is None else width


def _apply_rows_and_columns(
    images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    """Multiplies each image by `rows` from the left and `columns` from the right.

    Args:
        images: `(batch, height, width, channels)`.
        rows: `(batch, new_height, height)`.
        columns: `(batch, new_width, width)`.
    """
    planes = tf.transpose(images, [0, 3, 1, 2])  # (batch, channels, height, width)
    planes = tf.matmul(rows[:, None], planes)
    planes = tf.matmul(planes, columns[:, None], transpose_b=True)
    return tf.transpose(planes, [0, 2, 3, 1])


def _resampling(
    start: tf.Tensor, length: tf.Tensor, size: int, new_size: int, interpolation: str
) -> tf.Tensor:
    """Returns weights `(batch, new_size, size)` to resample `[start, start + length)`.

    PIL's `precompute_coeffs`: the filter widens with the scale where the box shrinks,
    and the weights left inside the box are normalized.
    """
    start = tf.cast(start, tf.float32)[:, None, None]
    length = tf.cast(length, tf.float32)[:, None, None]
    pixel = tf.range(size, dtype=tf.float32)
    new_pixel = tf.range(new_size, dtype=tf.float32)[:, None]
    scale = length / tf.cast(new_size, tf.float32)
    center = start + (new_pixel + 0.5) * scale
    distance = tf.abs(pixel + 0.5 - center) / tf.maximum(scale, 1.0)
    if interpolation == "bicubic":
        near = (1.5 * distance - 2.5) * distance * distance + 1.0
        far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        weights = tf.where(distance < 1.0, near, tf.where(distance < 2.0, far, 0.0))
    else:
        weights = tf.maximum(1.0 - distance, 0.0)
    inside = (pixel >= start) & (pixel < start + length)
    weights = tf.where(inside, weights, 0.0)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def _gaussian(sigma: tf.Tensor, size: int) -> tf.Tensor:
    """Returns blurring weights `(batch, size, size)`, with the edges reflected."""
    pixel = tf.range(size, dtype=tf.float32)
    new_pixel = pixel[:, None]
    last = tf.cast(size - 1, tf.float32)
    precision = 0.5 / tf.square(sigma)[:, None, None]
    weights = tf.exp(-precision * tf.square(new_pixel - pixel))
    # A pixel is reflected at either edge, except the edge itself.
    before = tf.exp(-precision * tf.square(new_pixel + pixel))
    after = tf.exp(-precision * tf.square(2.0 * last - pixel - new_pixel))
    weights += tf.where(pixel > 0.0, before, 0.0)
    weights += tf.where(pixel < last, after, 0.0)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def _blend_in_turn(
    planes: tf.Tensor,
    jitter: Mapping[str, tf.Tensor],
    turns: range,
    is_chosen: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Applies the blends of some turns to the chosen images.

    A blend is `f x + (1 - f) y`, clipped.

    Args:
        planes: `(batch, channels, height, width)`.
        jitter: See `color_jitter`.
        turns: The turns.
        is_chosen: Function from a turn to a boolean, or to `(batch,)` of them.
    """
    blends = [name for name in _BLENDS if name in jitter]
    zeros = tf.zeros(tf.shape(planes)[:1])

    def blend(turn, planes):
        keep, shares = zeros + 1.0, dict.fromkeys(_BLENDS, zeros)
        for name in blends:
            now = (jitter[f"{name}_turn"] == turn) & is_chosen(turn)
            keep = tf.where(now, jitter[name], keep)
            shares[name] = tf.where(now, 1.0 - jitter[name], zeros)
        gray = _gray(planes)
        mean = tf.reduce_mean(gray, axis=[1, 2, 3], keepdims=True)
        other = _spread(shares["contrast"]) * mean
        other += _spread(shares["saturation"]) * gray
        blended = _spread(keep) * planes + other
        return turn + 1, tf.clip_by_value(blended, 0.0, 255.0)

    # A loop, because XLA would fuse turns written out and compute each one again in
    # all that follow: slower, and three times as slow to compile.
    first = (turns.start, planes)
    return tf.while_loop(lambda turn, _: turn < turns.stop, blend, first)[1]


def _gray(planes: tf.Tensor) -> tf.Tensor:
    """Returns the luma of images in planes, `(batch, 1, height, width)`."""
    if planes.shape[1] == 1:
        return planes
    weighted = [w * planes[:, k : k + 1] for k, w in enumerate(_GRAY_WEIGHTS)]
    return tf.add_n(weighted)


def _turn_hue(planes: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Shifts the hue by turns: RGB to HSV and back, hue in sixths of the circle."""
    red, green, blue = tf.split(planes, 3, axis=1)
    value = tf.reduce_max(planes, axis=1, keepdims=True)
    chroma = value - tf.reduce_min(planes, axis=1, keepdims=True)
    per_chroma = 1.0 / tf.where(chroma > 0.0, chroma, 1.0)
    hue = (red - green) * per_chroma + 4.0
    hue = tf.where(value == green, (blue - red) * per_chroma + 2.0, hue)
    hue = tf.where(value == red, (green - blue) * per_chroma, hue)
    hue += _spread(6.0 * turns)
    # Differs from torchvision in form only: one ramp per channel, no six-way choice.
    offsets = tf.constant([5.0, 3.0, 1.0])[:, None, None]
    sixths = hue + offsets  # (batch, 3, height, width)
    sixths -= 6.0 * tf.floor(sixths * (1.0 / 6.0))
    ramp = tf.clip_by_value(tf.minimum(sixths, 4.0 - sixths), 0.0, 1.0)
    return value - chroma * ramp


def _spread(per_image: tf.Tensor) -> tf.Tensor:
    """Reshapes `(batch,)` to `(batch, 1, 1, 1)`."""
    return per_image[:, None, None, None]
