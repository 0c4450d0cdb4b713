"""Headless Chromium, Debian's, for tests that click through pages opened from disk."""

import shutil
from contextlib import contextmanager

from debian import install
from playwright.sync_api import sync_playwright


@contextmanager
def opened(path, width=1200):
    """A page (Playwright's) that shows a file; fails if a script of it fails."""
    install("chromium", ["chromium"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": width, "height": 900})
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(path.resolve().as_uri())
        yield page
        browser.close()
    assert not errors
