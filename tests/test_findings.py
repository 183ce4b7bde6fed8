"""Findings: what is wrong, in words, with its cost."""

import re
from pathlib import Path

import pytest

import k8strace
from k8strace.findings import DETECTORS

REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "findings.md"

CODES = [detector.__name__ for detector in DETECTORS]


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_section_in_the_reference(code):
    section = re.search(rf"^## {code}\n(.*?)(?=^## |\Z)", REFERENCE.read_text(), re.DOTALL | re.MULTILINE)
    assert section, f"no section about {code}"
    for part in ("**Means**", "**Told by**", "**Do**", "**Mistaken for**"):
        assert part in section[1]


def test_nothing_is_wrong_with_no_requests():
    none = k8strace.join(k8strace.decode(b""))
    assert list(none.findings()) == []
