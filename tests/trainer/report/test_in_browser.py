"""The report as a browser shows it: Debian's chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; Debian: apt-get install chromium"),
]

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}

# Text that can be seen, with its colour and the colour behind it. WCAG 2.2, contrast ratio and relative luminance.
CONTRASTS = """
() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    if (["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [light, dark] = [luminance(ink), luminance(ground(element))].sort((a, b) => b - a);
    found.push([(light + 0.05) / (dark + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # tests may run as root
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(finished_run, tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """open_page(**options): the report in a fresh context; what goes wrong in it fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_it(viewport: dict[str, int] = DESKTOP, **options: object) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: request.url == address or request.url.startswith("data:")
                or wrong.append(f"request of {request.url}"))  # fmt: skip
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_loads_alone_and_fits(open_page: Any, viewport: dict[str, int], tmp_path: Path) -> None:
    """Would fail with a request, an error in the console, a picture that is none, or a page wider than the screen."""
    page = open_page(viewport)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.locator("img").count() > 20
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    page.evaluate("Promise.all([...document.images].map(i => i.decode()))")  # fails with a picture that is none
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_page: Any, scheme: str) -> None:
    """4.5 to 1 is what WCAG 2.2 AA asks of text."""
    page = open_page(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_one_class_can_be_shown_alone(open_page: Any) -> None:
    page = open_page()
    everything = page.locator("[data-class]:visible").count()
    page.select_option("#filter", label="dog")
    shown = page.locator("[data-class]:visible").evaluate_all("all => all.map(e => e.dataset.class.split(' '))")
    assert 0 < len(shown) < everything
    assert all("1" in classes for classes in shown)
    assert page.locator("#wall section:visible h3").all_inner_texts() == ["dog"]
    assert page.locator("#said").inner_text() == "only dog"
    page.select_option("#filter", label="all")
    assert page.locator("[data-class]:visible").count() == everything


def test_classes_can_be_put_in_order(open_page: Any) -> None:
    page = open_page()

    def names() -> list[str]:
        return page.locator("#bias tbody th").all_inner_texts()

    listed = names()
    page.select_option("#order", "name")
    assert names() == sorted(listed)
    assert page.locator("#wall h3").all_inner_texts() == names()
    page.select_option("#order", "ap")
    values = page.locator("#classes tbody tr td:nth-of-type(1)").all_inner_texts()
    assert [float(text.split()[0]) for text in values] == sorted(float(text.split()[0]) for text in values)
    page.select_option("#order", label="as listed")
    assert names() == listed


def test_the_keyboard_is_enough(open_page: Any) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "filter":
            break
    page.keyboard.press("ArrowDown")
    assert page.locator("#wall section:visible h3").all_inner_texts() == ["cat"]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "where the focus is must be seen"
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_without_scripts_everything_is_shown(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    assert not page.locator("#tools").is_visible()
    assert page.locator("#wall section").count() == page.locator("#wall section:visible").count() == 4
