"""Completion and the manual page: made from the parser, so they know all of it; bash runs its own."""

import subprocess

import pytest

from k8strace.cli import main
from k8strace.cli.commands import parser


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(line: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    words = line.split(" ")
    told = " ".join(f"'{word}'" for word in words)
    run = f"COMP_WORDS=({told}); COMP_CWORD={len(words) - 1}; _k8strace; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "-c", script("bash", capsys) + run], capture_output=True, text=True, check=True, timeout=30
    )
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("k8strace rep", {"report"}),
        ("k8strace report --quan", {"--quantiles"}),
        ("k8strace report file --sort ", {"total", "count", "errors", "p99"}),
        ("k8strace setup ren", {"render"}),
        ("k8strace completion ", {"bash", "zsh", "fish", "man"}),
    ],
)
def test_bash_completes(line: str, answer: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer <= completed(line, capsys)
    assert not {word for word in completed(line, capsys) if not word.startswith(line.rsplit(" ", 1)[1])}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "man"])
def test_every_option_of_report_is_known(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys).replace("\\-", "-")
    for option in parser()._subparsers._group_actions[0].choices["report"]._option_string_actions:
        assert (
            f"-l {option[2:]}" if shell == "fish" and option.startswith("--") else option.lstrip("-")
        ) in text
