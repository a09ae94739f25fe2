"""Photographs the report of a run for the documentation: docs/images/report-phone.png and report-desktop.png.

    python tools/screenshot_report.py runs/demo/report.html

Needs Debian's chromium, and Playwright from the extra `dev`.
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
# A picture in a repository is downloaded with every clone.
MAX_BYTES = 400_000


def main(report: Path) -> None:
    """Raises ValueError where there is no chromium or no report."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise ValueError("there is no chromium; Debian: apt-get install chromium")
    if not report.is_file():
        raise ValueError(f"there is no report {report}; `ccd report RUN` makes one")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        photograph(browser, report, IMAGES / "report-phone.png", width=390, height=1700, scheme="dark", part="#wall")
        photograph(browser, report, IMAGES / "report-desktop.png", width=1440, height=1800, scheme="light")
        browser.close()


def photograph(
    browser: Browser,
    report: Path,
    path: Path,
    *,
    width: int,
    height: int,
    scheme: Literal["light", "dark"],
    part: str = "",
) -> None:
    """The page of `width` CSS pixels, `height` of them from the top or from the element `part`, in a palette that keeps
    the file under MAX_BYTES."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(report.resolve().as_uri() + part)
    page.evaluate("[...document.images].forEach(image => { image.loading = 'eager'; })")
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        content = io.BytesIO()
        shot.quantize(colours, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
        if len(content.getvalue()) < MAX_BYTES:
            break
    path.write_bytes(content.getvalue())
    print(f"{path}: {len(content.getvalue()):,} bytes, {colours} colours")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
