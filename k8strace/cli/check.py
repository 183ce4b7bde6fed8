"""`k8strace check`: budgets in CI."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from k8strace import Requests
from k8strace.cli.exits import FAILED, OK, UsageError
from k8strace.cli.inputs import joined
from k8strace.cli.options import Commands, add_command, add_files, add_joining, add_reading, add_showing
from k8strace.cli.outputs import look_of, write_json, write_text
from k8strace.exceptions import BudgetsError

if TYPE_CHECKING:
    from k8strace.budgets import Checked

__all__ = ["add_check"]

UNSURE: Final = 75
"""`EX_TEMPFAIL` of `sysexits.h`, "try again later": a longer recording could be judged."""

CODES: Final = {
    OK: "every budget passes",
    FAILED: "a budget fails; or something cannot be read",
    UNSURE: "none fails, but some cannot be judged",
}


def add_check(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "check",
        _check,
        "budgets for CI: pass, fail, or cannot tell",
        "  k8strace check traces.json --budgets budgets.toml\n"
        "  k8strace check new.json --budgets budgets.toml --baseline old.json --junit > budgets.xml\n",
        CODES,
    )
    add_files(command)
    command.add_argument(
        "--budgets", required=True, metavar="TOML", help="limits on metrics, see the how-to on budgets"
    )
    command.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="FILE",
        help="recording that changes (delta.p99) are measured against; repeat for more files",
    )
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument("--markdown", action="store_true", help="for a comment on a pull request")
    kinds.add_argument("--junit", action="store_true", help="JUnit XML, as CI shows test results")
    kinds.add_argument("--sarif", action="store_true", help="SARIF 2.1.0, as code scanning shows findings")
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _check(asked: argparse.Namespace) -> int:
    from k8strace.budgets import BROKEN, CANNOT_TELL, check, read_budgets, worst_of

    try:
        budgets = read_budgets(asked.budgets)
        checked = check(joined(asked), budgets, _baseline(asked))
    except BudgetsError as error:
        raise UsageError(str(error)) from error
    _write(asked, checked)
    return {BROKEN: FAILED, CANNOT_TELL: UNSURE}.get(worst_of(checked), OK)


def _baseline(asked: argparse.Namespace) -> Requests | None:
    if not asked.baseline:
        return None
    return joined(argparse.Namespace(**{**vars(asked), "files": asked.baseline}))


def _write(asked: argparse.Namespace, checked: list[Checked]) -> None:
    from k8strace.views import budgets as view

    if asked.json:
        return write_json([view.budget_record(checked)])
    if asked.sarif:
        return write_json([view.sarif(checked, asked.budgets)])
    if asked.junit or asked.markdown:
        sys.stdout.write(view.junit(checked) if asked.junit else view.markdown(checked))
        return None
    look = look_of(asked)
    return write_text(view.budget_lines(checked, look), look)
