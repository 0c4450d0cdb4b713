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


def overflowing(page):
    """What reaches out of the element that it is in, or scrolls sideways, in words.

    Drawings (svg), what is hidden or fixed to the window, and the text that a select cuts off
    don't count.
    """
    return page.evaluate(
        """() => {
          document.getAnimations().forEach(animation => animation.finish());
          const found = [];
          const name = e => `${e.tagName.toLowerCase()} ${e.textContent.trim().slice(0, 40)}`;
          for (const e of document.querySelectorAll("html, body, body *:not(svg *, option)")) {
            const style = getComputedStyle(e), box = e.getBoundingClientRect();
            if (!box.width || !e.checkVisibility() || style.position === "fixed") continue;
            const block = style.display !== "inline" && e.clientWidth && e.tagName !== "SELECT";
            if (block && e.scrollWidth > e.clientWidth + 1)
              found.push(`${name(e)}: ${e.scrollWidth} pixels of content in ${e.clientWidth}`);
            const parent = style.position === "absolute" ? e.offsetParent : e.parentElement;
            const outer = parent?.getBoundingClientRect();
            if (outer && (box.left < outer.left - 0.5 || box.right > outer.right + 0.5))
              found.push(`${name(e)}: from ${box.left} to ${box.right} in ${name(parent)}, from ` +
                `${outer.left} to ${outer.right}`);
          }
          return found;
        }"""
    )
