"""A verb's help, without a type behind options that take no value."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Verb(TyperCommand):
    """``--overwrite <bool>`` would have people type ``--overwrite true``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, ``--help`` among them."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params
