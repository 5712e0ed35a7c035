"""The help of a verb. It shows no type after options that take no value."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Verb(TyperCommand):
    """A command whose flags show no type. After ``--overwrite <bool>`` people would type ``--overwrite true``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, including ``--help``."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params
