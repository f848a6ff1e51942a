"""The gradient of a 3 x 3 convolution by its kernel, with 4 of 9 multiplications."""

import tensorflow as tf

# Winograd's F(2 x 2, 3 x 3): the output's tile Y of the input's tile X and the kernel K
# is Y = A' ((G K G') * (B' X B)) A, where * is by element. The sum over tiles and the
# matrices on either side change places in its gradient by K.
_A = ((1, 0), (1, 1), (1, -1), (0, -1))
_B_TRANSPOSED = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G_TRANSPOSED = ((1, 0.5, 0.5, 0), (0, 0.5, -0.5, 0), (0, 0.5, 0.5, 1))


def gradient_by_kernel(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The gradient by the kernel of a convolution of stride 1 and "same" padding.

    The map is cut into tiles of 2 x 2 outputs, which see 4 x 4 inputs. 16 matrix
    products over all tiles take the place of 9 over all outputs, of which there are
    four times as many. XLA compiles what is before and behind the products into one
    pass each.

    In bfloat16 the tiles' sums and the products are rounded once more than by a plain
    kernel: random numbers give a gradient of a relative error of 0.5 %, not 0.2 %.

    Args:
        inputs: `(batch, height, width, channels)`, all but the batch known.
        upstream: `(batch, height, width, filters)`, the gradient by the output.

    Returns:
        `(3, 3, channels, filters)`.

    Reference:
        Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015
        (https://arxiv.org/abs/1509.09308)
    """
    _, height, width, _ = inputs.shape
    # Whole tiles: behind an odd side they see one row of zeros more.
    odd_rows, odd_columns = height % 2, width % 2
    around = ((0, 0), (1, 1 + odd_rows), (1, 1 + odd_columns), (0, 0))
    # Not before they are needed: tiles hold four times as many numbers as the map.
    with tf.control_dependencies([upstream]):
        inputs = tf.pad(inputs, around)
    if odd_rows or odd_columns:
        upstream = tf.pad(upstream, ((0, 0), (0, odd_rows), (0, odd_columns), (0, 0)))
    products = [
        tf.matmul(seen, given, transpose_a=True)
        for seen, given in zip(
            _input_tiles(inputs), _upstream_tiles(upstream), strict=True
        )
    ]
    return _kernel(products)


@tf.function(jit_compile=True)
def _input_tiles(inputs):
    """`B' X B` of all tiles: 16 times `(tiles, channels)`, of `(batch, ...)` padded."""
    height, width = inputs.shape[1] - 2, inputs.shape[2] - 2
    tiles = [
        [_float32(inputs[:, i : i + height : 2, j : j + width : 2]) for j in range(4)]
        for i in range(4)
    ]
    return _as_rows(_on_both_sides(_B_TRANSPOSED, tiles), inputs.dtype)


@tf.function(jit_compile=True)
def _upstream_tiles(upstream):
    """`A Y A'` of all tiles: 16 times `(tiles, filters)`."""
    tiles = [[_float32(upstream[:, i::2, j::2]) for j in range(2)] for i in range(2)]
    return _as_rows(_on_both_sides(_A, tiles), upstream.dtype)


@tf.function(jit_compile=True)
def _kernel(products):
    """`G' P G` of 16 products `(channels, filters)`: `(3, 3, channels, filters)`."""
    elements = [[_float32(products[4 * i + j]) for j in range(4)] for i in range(4)]
    kernel = _on_both_sides(_G_TRANSPOSED, elements)
    return tf.cast(tf.stack([tf.stack(row) for row in kernel]), products[0].dtype)


def _on_both_sides(matrix, tile):
    """`M T M'`, where the elements of `T` are tensors."""
    columns = [
        [_weighted_sum(weights, column) for column in zip(*tile, strict=True)]
        for weights in matrix
    ]
    return [[_weighted_sum(weights, row) for weights in matrix] for row in columns]


def _weighted_sum(weights, tensors):
    return tf.add_n(
        [
            weight * tensor
            for weight, tensor in zip(weights, tensors, strict=True)
            if weight
        ]
    )


def _as_rows(tile, dtype):
    return [
        tf.cast(tf.reshape(element, (-1, element.shape[-1])), dtype)
        for row in tile
        for element in row
    ]


def _float32(x):
    return tf.cast(x, tf.float32)
