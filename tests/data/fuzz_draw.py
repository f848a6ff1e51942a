"""Random choices, all of them from one seed."""

import random
from collections.abc import Sequence

import numpy as np


class Draw:
    """Makes the choices of one case.

    Args:
        seed: The same gives the same case.

    Attributes:
        numbers: A generator of NumPy, for pixels and values.
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)

    def one_of(self, options: Sequence):
        """Returns one of these."""
        return self._random.choice(options)

    def some(self, options: Sequence, low: int, high: int) -> list:
        """Returns so many different ones of these."""
        different = list(dict.fromkeys(options))
        number = self._random.randint(low, min(high, len(different)))
        return self._random.sample(different, number)

    def integer(self, low: int, high: int) -> int:
        """Returns a whole number from `low` to `high`."""
        return self._random.randint(low, high)

    def one_in(self, number: int) -> bool:
        """Returns whether a chance of one in `number` came up."""
        return self._random.randrange(number) == 0
