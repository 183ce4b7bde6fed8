"""The wheel carries the licences of the crates that are linked into it."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo knows what is linked, and is not here")
def test_the_licences_are_those_of_the_crates_that_are_linked():
    """As cargo names them, with the texts that their authors published: `make licenses` writes them anew."""
    script = runpy.run_path(str(ROOT / ".ci" / "third_party.py"))
    assert (ROOT / "LICENSE-THIRD-PARTY").read_text("utf-8") == script["page"]()
    texts = script["texts"]()
    assert [crate for *crate, _ in script["linked"]() if not texts[tuple(crate)]] == []
