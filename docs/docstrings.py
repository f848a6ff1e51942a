"""An extension of Griffe that shows the examples of Keras's docstrings as code."""

import re

import griffe


class Examples(griffe.Extension):
    """Puts the lines with `>>>` after `Example:` into a fenced block."""

    def on_instance(self, *, obj: griffe.Object, **kwargs) -> None:
        """Rewrites the docstring of one object.

        Args:
            obj: A module, class, function or attribute.
            **kwargs: Not used.
        """
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Examples?:\n+((?:(?:>>>|\.\.\.|[ \d(\[<]).*\n?)+)",
                lambda match: f"```pycon\n{match[1].rstrip()}\n```\n",
                obj.docstring.value,
                flags=re.M,
            )
