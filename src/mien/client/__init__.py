"""A client of the service: the same records as in the Python API, over HTTP, with and without ``async``.

>>> from mien.client import Client
>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     result = client.analyze("photo.jpg")
"""

from __future__ import annotations

from mien.errors import MissingExtraError

try:
    from mien.client.aio import AsyncClient
    from mien.client.sync import Client
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "httpx", "client") from None

__all__ = ["AsyncClient", "Client"]
