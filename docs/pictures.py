"""
The pictures of README and docs: the page of the recording that comes along, as Chromium draws it.

    python docs/pictures.py     # writes docs/pictures/*.webp, and what they were made of beside them

tests/test_pictures.py says when that has changed. Look at them before you commit them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import k8strace

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "docs/pictures"
SOURCES: Final = (
    "k8strace/page/page.js",
    "k8strace/page/page.css",
    "k8strace/page/demo.otlp.zst",
    "docs/pictures.py",
)
WIDTH: Final = 1120


def made_of() -> dict[str, str]:
    """What the pictures are made of: path → SHA-256."""
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in SOURCES}


def main() -> None:
    """Draws them."""
    from playwright.sync_api import sync_playwright

    requests = k8strace.join(k8strace.read(ROOT / "k8strace/page/demo.otlp.zst"))
    slow = requests.slowest(1)[0].trace_id
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        requests.to_html(file, title="A recording of Kubernetes 1.36 and etcd 3.6")
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 700}, color_scheme="light")
        page.goto(f"{file.as_uri()}#r={slow}")
        page.wait_for_selector("[data-ready]")
        page.get_by_role("treeitem").first.wait_for()
        page.wait_for_timeout(500)
        pictures = {
            "page": page.screenshot(),
            "timeline": _sections(page, "timeline", "groups", height=760),
            "flame": _sections(page, "flame"),
            "request": _sections(page, "request"),
        }
        page = browser.new_page()
        for name, png in pictures.items():
            (FOLDER / f"{name}.webp").write_bytes(_webp(page, png))
        browser.close()
    (FOLDER / "made-of.json").write_text(json.dumps(made_of(), indent=1) + "\n")


def _sections(page: Any, first: str, last: str = "", height: int = 10_000) -> bytes:
    """From the top of one section to the bottom of another."""
    page.evaluate("document.querySelector('.filters').style.position = 'static'")
    top, bottom = page.locator(f"#{first}").bounding_box(), page.locator(f"#{last or first}").bounding_box()
    whole = bottom["y"] + bottom["height"] - top["y"]
    offset = page.evaluate("scrollY")
    clip = {"x": 0, "y": top["y"] + offset - 8, "width": WIDTH, "height": min(whole + 16, height)}
    png: bytes = page.screenshot(full_page=True, clip=clip)
    return png


def _webp(page: Any, png: bytes) -> bytes:
    """The browser itself makes it smaller."""
    told = page.evaluate(
        """async png => {
            const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
            const canvas = new OffscreenCanvas(image.width, image.height);
            canvas.getContext("2d").drawImage(image, 0, 0);
            const blob = await canvas.convertToBlob({type: "image/webp", quality: 0.8});
            const bytes = new Uint8Array(await blob.arrayBuffer());
            return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
        }""",
        base64.b64encode(png).decode(),
    )
    return base64.b64decode(told)


if __name__ == "__main__":
    main()
