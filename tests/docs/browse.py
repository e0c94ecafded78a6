"""The built site in a real browser, by `hatch run docs:browse`; `hatch test` does not collect this file."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = sorted(str(page.relative_to(SITE)) for page in SITE.rglob("*.html") if "_static" not in page.parts)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
# Nothing but what the site asks for may go over the network, and root needs no sandbox.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

pytestmark = pytest.mark.real_time


def chromium() -> str:
    """Return the path of Chromium, after installing Debian's if there is none and we may."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if not any(map(shutil.which, names)) and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=True)
    path = next(filter(None, map(shutil.which, names)), None)
    assert path is not None, "no Chromium or Chrome on PATH"
    return path


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    assert PAGES, "no site: run `hatch run docs:build` first"
    handler = functools.partial(QuietHandler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=address, viewport=DESKTOP)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def sideways_scroll(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_without_errors_and_never_scrolls_sideways(page: Page, address: str, path: str) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    page.on("response", lambda answer: problems.append(f"{answer.status}: {answer.url}") if not answer.ok else None)
    page.on("request", lambda request: None if request.url.startswith(address) else problems.append(request.url))

    page.goto(f"/{path}", wait_until="networkidle")
    assert problems == []
    assert page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    for size in (DESKTOP, {"width": 800, "height": 600}, PHONE):
        page.set_viewport_size(size)
        assert sideways_scroll(page) == 0, size


def test_search_finds_too_many_calls(page: Page) -> None:
    page.goto("/index.html")
    page.get_by_placeholder("Search").first.fill("TooManyCalls")
    page.keyboard.press("Enter")

    results = page.locator("#search-results ul.search")
    expect(results.locator("a[href*='reference/dike-limit.html#dike_limit.TooManyCalls']").first).to_be_visible()
    expect(results.locator("a[href*='limit-jobs.html']").first).to_be_visible()


def test_the_menu_works_on_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/index.html")
    entry = page.locator(".sidebar-tree").get_by_role("link", name="limit_jobs", exact=True)
    expect(entry).not_to_be_in_viewport()

    page.locator("header .nav-overlay-icon").click()
    expect(entry).to_be_in_viewport()
    entry.click()

    expect(page).to_have_url("/limit-jobs.html")
    expect(page.get_by_role("heading", level=1)).to_contain_text("limit_jobs")


@pytest.mark.parametrize(("scheme", "variant"), [("light", "light"), ("dark", "dark")])
def test_a_page_follows_the_colors_of_the_system(browser: Browser, address: str, scheme: str, variant: str) -> None:
    context = browser.new_context(base_url=address, viewport=DESKTOP, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/retry.html")

    brightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
    assert (int(brightness) < 100) == (scheme == "dark")
    for other in ("light", "dark"):
        shown = page.locator(f"figure.picture img.only-{other}").first
        expect(shown).to_be_visible(visible=other == variant)
    context.close()


def test_the_colors_can_be_switched_by_hand(page: Page) -> None:
    page.goto("/retry.html")
    seen = {page.evaluate("getComputedStyle(document.body).backgroundColor")}
    for _ in range(3):
        page.locator(".content-icon-container .theme-toggle").click()
        seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(seen) == 2


def test_code_is_copied_by_the_button_and_output_has_none(context: BrowserContext, page: Page, address: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page.goto("/start.html")
    code = page.locator(".highlight-python").first
    code.hover()
    code.locator("button.copybtn").click()

    assert page.evaluate("navigator.clipboard.readText()").strip() == code.locator("pre").inner_text().strip()
    assert page.locator(".highlight-output button.copybtn").count() == 0
