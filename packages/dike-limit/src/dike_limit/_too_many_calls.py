"""What a call gets that is refused."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class TooManyCalls(Exception):  # noqa: N818
    """A call was refused, because the limit, and its waiting room if it has one, was full.

    The attributes are `None` where nothing is known.

    Attributes:
        function: Qualified name of the function; `None` for `JobLimiter.slot`.
        limit: The whole limit at that moment, whatever the call's share of it was.
        in_flight: How many calls ran, of the same key and on the same event loop.
        waiting: How many calls waited, of the same key and on the same event loop.
        key: The key of the call.
        retry_after: Seconds after which a slot may be free; known only to a `SharedLimit`.

    Example:
        A web service answers with ``503 Service Unavailable``, here with FastAPI:

        >>> import asyncio
        >>> import math
        >>> import httpx
        >>> from dike_limit import TooManyCalls, limit_jobs
        >>> from fastapi import FastAPI, Request
        >>> from fastapi.responses import PlainTextResponse
        >>> app = FastAPI()
        >>> @app.exception_handler(TooManyCalls)
        ... async def refuse(request: Request, error: TooManyCalls) -> PlainTextResponse:
        ...     seconds = math.ceil(error.retry_after or 1)
        ...     return PlainTextResponse("try again later", 503, {"Retry-After": str(seconds)})
        >>> @app.get("/search")
        ... @limit_jobs(limit=1)
        ... async def search(query: str) -> str:
        ...     await asyncio.sleep(0.01)
        ...     return f"results for {query}"
        >>> async def main():
        ...     transport = httpx.ASGITransport(app)
        ...     async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        ...         for response in await asyncio.gather(
        ...             client.get("/search?query=dikes"), client.get("/search?query=floods")
        ...         ):
        ...             print(response.status_code, response.text, response.headers.get("Retry-After"))
        >>> asyncio.run(main())
        200 "results for dikes" None
        503 try again later 1
    """

    # They take half the time of attributes in a dict.
    __slots__ = ("function", "in_flight", "key", "limit", "retry_after", "waiting")

    def __init__(
        self,
        *args: object,
        function: str | None = None,
        limit: float | None = None,
        in_flight: int | None = None,
        waiting: int | None = None,
        key: Hashable = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(*args)
        self.function: str | None = function
        self.limit: float | None = limit
        self.in_flight: int | None = in_flight
        self.waiting: int | None = waiting
        self.key: Hashable = key
        self.retry_after: float | None = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = {name: getattr(self, name) for name in TooManyCalls.__slots__}
        return type(self), self.args, self.__dict__ | attributes


_new = TooManyCalls.__new__


def refusal(
    text: str,
    function: str | None,
    limit: float,
    in_flight: int,
    waiting: int,
    key: Hashable = None,
    retry_after: float | None = None,
) -> TooManyCalls:
    """Make the exception, without the keyword arguments of ``__init__``: they are slow, and refusing must be cheap."""
    error = _new(TooManyCalls, text)
    error.function = function
    error.limit = limit
    error.in_flight = in_flight
    error.waiting = waiting
    error.key = key
    error.retry_after = retry_after
    return error
