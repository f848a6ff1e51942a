"""Errors whose message is for the user."""

from collections.abc import Iterable


class InputError(ValueError):
    """A value, file, dataset or checkpoint that a user gave can't be used.

    The message is one sentence for each of: what was expected, what was received
    (`Received: name=value`) and what to do. The command line prints it without a
    traceback. Any other exception is a defect of the program and keeps its traceback.
    """


class NonFiniteLossError(InputError, FloatingPointError):
    """Training produced a loss that is NaN or infinite."""


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Checks that an argument is one of its choices.

    Raises:
        InputError: If it is not.
    """
    if value not in choices:
        known = ", ".join(choices)
        raise InputError(
            f"Expected {name} to be one of {known}. Received: {name}={value}."
        )
