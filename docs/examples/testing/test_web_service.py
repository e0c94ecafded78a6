import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import web_service
from dike_retry import no_delay

pytestmark = pytest.mark.real_time  # the model runs in a thread


@pytest.fixture
def requests() -> list[str]:
    """What the backend is asked for."""
    return []


@pytest.fixture
async def client(requests: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of our service, in memory, and a backend that fails when it is asked for a user the first time."""

    def backend(request: httpx.Request) -> httpx.Response:
        requests.append(request.url.path)
        first = requests.count(request.url.path) == 1
        return httpx.Response(503) if first else httpx.Response(200, json=[1.0, 2.0, 4.0])

    web_service.app.state.backend = httpx.AsyncClient(base_url="http://backend", transport=httpx.MockTransport(backend))
    transport = httpx.ASGITransport(web_service.app)
    with no_delay():
        async with httpx.AsyncClient(base_url="http://service", transport=transport) as client:
            yield client


async def test_a_failing_backend_is_asked_again(client: httpx.AsyncClient, requests: list[str]) -> None:
    response = await client.get("/score/7")

    assert (response.status_code, response.json()) == (200, 2.0)
    assert requests == ["/features/7", "/features/7"]


async def test_requests_share_a_batch(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(*(client.get(f"/score/{user}") for user in range(5)))

    assert [response.json() for response in responses] == [2.0] * 5
    figures = (await client.get("/figures")).json()
    assert figures["rows"] == 5
    assert figures["batches"] < 5


async def test_an_overloaded_service_says_when_to_come_back(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_service.front_door, "limit", 0)

    response = await client.get("/score/7")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
