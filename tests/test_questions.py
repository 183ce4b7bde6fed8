"""The pages of questions show what their commands print."""

import re
import shlex
from pathlib import Path

import pytest

from k8strace.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (ROOT / "docs" / "howto" / "questions").glob("*.md") if path.stem != "index")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_command_prints(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    ((command, shown),) = re.findall(
        r"\$ k8strace ((?:report|audit) [^\n]*)\n([\s\S]*?)```", page.read_text()
    )
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == shown


def test_every_page_has_a_next_step_and_is_in_the_list() -> None:
    index = (ROOT / "docs" / "howto" / "questions" / "index.md").read_text()
    assert len(PAGES) == 8
    for page in PAGES:
        assert "\nNext: " in page.read_text()
        assert page.stem in index
