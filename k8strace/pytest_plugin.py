"""
A pytest plugin: each budget of a file is a test.

    pytest budgets.toml --k8strace-recording new.otlp.zst --k8strace-baseline old.otlp.zst

Or in a test of your own, with the fixture `check_budgets`. A budget that cannot be judged is skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

__all__ = ["check_budgets"]

CheckBudgets: TypeAlias = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    group = parser.getgroup("k8strace", "budgets for recordings of Kubernetes API requests")
    group.addoption(
        "--k8strace-recording", metavar="FILE", help="the recording that budgets in TOML files are about"
    )
    group.addoption(
        "--k8strace-baseline", metavar="FILE", help="the recording that changes are measured against"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A TOML file that was named on the command line, if there is a recording."""
    asked = parent.config.getoption("--k8strace-recording")
    if asked and file_path.suffix == ".toml" and parent.session.isinitpath(file_path):
        return BudgetFile.from_parent(parent, path=file_path)
    return None


class BudgetFile(pytest.File):
    """A file of budgets."""

    def collect(self) -> Iterator[BudgetItem]:
        """A test for each budget."""
        from k8strace import read_budgets

        for budget in read_budgets(self.path):
            yield BudgetItem.from_parent(self, name=budget.name, budget=budget)

    def recordings(self) -> list[Any]:
        """The recording and its baseline, joined once."""
        if not hasattr(self, "_recordings"):
            names = [self.config.getoption(f"--k8strace-{which}") for which in ("recording", "baseline")]
            self._recordings = [name and _joined(name) for name in names]
        return self._recordings


class BudgetItem(pytest.Item):
    """One budget."""

    def __init__(self, *, budget: Any, **rest: Any) -> None:
        super().__init__(**rest)
        self.budget = budget

    def runtest(self) -> None:
        """Fails if the budget is broken, is skipped if it cannot be judged."""
        recording, baseline = self.parent.recordings()  # type: ignore[union-attr]
        _tell(recording, [self.budget], baseline)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Only the reason, without a traceback."""
        return (
            str(excinfo.value)
            if excinfo.errisinstance(pytest.fail.Exception)
            else super().repr_failure(excinfo, style)
        )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """File and line of the budget."""
        return self.path, max(self.budget.line - 1, 0), self.name


@pytest.fixture
def check_budgets() -> CheckBudgets:
    """
    Checks budgets of a file in a test: `check_budgets(recording, "budgets.toml", baseline=None)`.

    `recording` and `baseline` are paths or `Requests`. The test fails with all broken budgets; it is skipped if none is
    broken, but some cannot be judged.
    """
    from k8strace import read_budgets

    def checks(recording: Any, budgets: str | Path, baseline: Any = None) -> None:
        _tell(_joined(recording), read_budgets(budgets), None if baseline is None else _joined(baseline))

    return checks


def _joined(recording: Any) -> Any:
    from k8strace import Requests, join, read

    return recording if isinstance(recording, Requests) else join(read(str(recording)))


def _tell(recording: Any, budgets: list[Any], baseline: Any) -> None:
    from k8strace.budgets import BROKEN, CANNOT_TELL, check
    from k8strace.views.budgets import reason

    checked = check(recording, budgets, baseline)
    broken, unsure = (
        "\n".join(f"{each.budget.name}: {reason(each)}" for each in checked if each.verdict == verdict)
        for verdict in (BROKEN, CANNOT_TELL)
    )
    if broken:
        pytest.fail(broken, pytrace=False)
    if unsure:
        pytest.skip(f"cannot tell: {unsure}")
