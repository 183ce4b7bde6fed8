"""A browser for tests of the page, found and not downloaded."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = ROOT / "page/node_modules/axe-core/axe.min.js"


def missing(variable, reason):
    """Skips; fails where the variable says that what is missing was installed."""
    if os.environ.get(variable) == "required":
        pytest.fail(f"{variable}=required, but {reason}")
    pytest.skip(reason)


@contextmanager
def chromium():
    """
    The browser; skips with the reason if there is none.

    Not longer than a file needs it: while it is there, asyncio cannot be used in the same thread.
    """
    try:
        from playwright import sync_api
    except ImportError:
        missing("K8STRACE_BROWSER", "playwright is not installed")
    if CHROMIUM is None:
        missing("K8STRACE_BROWSER", "chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser, address, **how):
    """A page that is drawn; what it logged is in `said`."""
    page = browser.new_context(**how).new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(address)
    if how.get("java_script_enabled", True):
        page.wait_for_selector("[data-ready]", timeout=30_000)
    return page


def number(page, selector):
    """The exact value of a time."""
    return int(page.locator(selector).first.get_attribute("value"))


def violations(page, *rules):
    """What axe finds; of some rules only, if they are told."""
    if not AXE.exists():
        missing("K8STRACE_PAGE_TOOLS", "axe-core is not installed (cd page && npm ci)")
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run(rules.length ? {runOnly: rules} : {})", list(rules))["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]
