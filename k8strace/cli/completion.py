"""`k8strace completion`: completion for shells and the manual page, made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final, TypeAlias

from k8strace.cli.options import Commands, Parser, add_command
from k8strace.cli.outputs import say

__all__ = ["add_completion"]


def add_completion(commands: Commands, parser: Parser) -> None:
    """Adds the command, which covers everything that the parser accepts."""
    command = add_command(
        commands,
        "completion",
        _completion,
        "completion for a shell, or the manual page",
        '  eval "$(k8strace completion bash)"        # in ~/.bashrc; zsh the same\n'
        "  k8strace completion fish > ~/.config/fish/completions/k8strace.fish\n"
        "  k8strace completion man | man -l -\n",
    )
    command.add_argument("shell", choices=tuple(_WRITERS), help="which")
    command.set_defaults(parser=parser)


def _completion(asked: argparse.Namespace) -> None:
    say(_WRITERS[asked.shell](asked.parser))


# ── What the parser accepts ───────────────────────────────────────────────────────────────────────


Command: TypeAlias = tuple[tuple[str, ...], argparse.ArgumentParser]


def _tree(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Command]:
    """Every command with its words on the command line."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _tree(below, (*path, name))


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """All words that can follow: commands, values of choices, options."""
    choices = [
        str(word) for action in parser._actions if not action.option_strings for word in action.choices or ()
    ]
    return [*choices, *(text for action in _options(parser) for text in action.option_strings)]


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%") if action.help != argparse.SUPPRESS else ""


# ── Shells ────────────────────────────────────────────────────────────────────────────────────────


def _bash(parser: Parser) -> Iterator[str]:
    """Words that are not options select a command; an option with choices is followed by one of them."""
    yield "_k8strace() {"
    yield '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" words="" word'
    yield '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    names = " | ".join(f'"{" ".join(path)}"' for path, _ in _tree(parser) if path)
    yield f'    case "${{path:+$path }}$word" in {names}) path="${{path:+$path }}$word" ;; esac'
    yield "  done"
    yield '  case "$path/$prev" in'
    for path, below in _tree(parser):
        for action in _options(below):
            if action.choices:
                keys = " | ".join(f'"{" ".join(path)}/{text}"' for text in action.option_strings)
                yield f'    {keys}) words="{" ".join(map(str, action.choices))}" ;;'
    yield "    *)"
    yield '      case "$path" in'
    for path, below in _tree(parser):
        yield f'        "{" ".join(path)}") words="{" ".join(_words(below))}" ;;'
    yield "      esac ;;"
    yield "  esac"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    yield "}"
    yield "complete -o default -F _k8strace k8strace"


def _zsh(parser: Parser) -> Iterator[str]:
    """Zsh uses bash's completion."""
    yield "#compdef k8strace"
    yield "autoload -Uz bashcompinit && bashcompinit"
    yield from _bash(parser)


def _fish(parser: Parser) -> Iterator[str]:
    for path, below in _tree(parser):
        seen = (
            "; and ".join(f"__fish_seen_subcommand_from {name}" for name in path) or "__fish_use_subcommand"
        )
        for action in below._actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    yield f"complete -c k8strace -n {_quoted(seen)} -a {choice.dest} -d {_quoted(_help(choice))}"
            for text in action.option_strings:
                flag = f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}"
                values = f" -x -a {_quoted(' '.join(map(str, action.choices)))}" if action.choices else ""
                yield f"complete -c k8strace -n {_quoted(seen)} {flag} -d {_quoted(_help(action))}{values}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# ── The manual page ───────────────────────────────────────────────────────────────────────────────


def _man(parser: Parser) -> Iterator[str]:
    yield '.TH K8STRACE 1 "" "k8strace" "User Commands"'
    yield ".SH NAME"
    yield "k8strace \\- where the time of Kubernetes API requests went"
    for path, below in _tree(parser):
        yield ".SH SYNOPSIS" if not path else f".SH {_roff(' '.join(path).upper())}"
        yield f".B {_roff(below.prog)}"
        yield ".PP"
        yield _roff(below.description or "")
        for action in below._actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    yield from (".TP", f".B {_roff(choice.dest)}", _roff(_help(choice)))
            elif action.help != argparse.SUPPRESS:
                name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
                value = (
                    f" {action.metavar}" if action.option_strings and isinstance(action.metavar, str) else ""
                )
                yield from (".TP", f".B {_roff(name + value)}", _roff(_help(action)))
        if below.epilog:
            yield from (".PP", ".nf", *map(_roff, below.epilog.splitlines()), ".fi")


def _roff(text: str) -> str:
    """Escapes text, so that no line is a request to the formatter."""
    told = text.replace("\\", "\\e").replace("-", "\\-").replace("\n", " ")
    return f"\\&{told}" if told[:1] in (".", "'") else told


_WRITERS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish, "man": _man}
