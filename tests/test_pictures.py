"""The pictures of README and docs are of the page as it is."""

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs/pictures"


def test_they_are_made_of_what_is_here():
    """Otherwise: `make pictures`, look at them, commit them."""
    told = json.loads((FOLDER / "made-of.json").read_text())
    assert "k8strace/page/page.js" in told
    assert {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in told} == told


def test_they_are_small_and_each_is_shown():
    shown = set()
    for name in ("README.md", "docs/explanation/page.md"):
        shown |= set(re.findall(r"pictures/(\w+\.webp)", (ROOT / name).read_text()))
    assert shown == {path.name for path in FOLDER.glob("*.webp")}
    assert all(0 < path.stat().st_size < 100_000 for path in FOLDER.glob("*.webp"))
