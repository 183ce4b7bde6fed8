"""Rules in a file: the same as in Python, and what is wrong is said with its line and column."""

from __future__ import annotations

import pytest

import k8strace
from k8strace.rules import parse_rules

WHOLE = """\
[[rule]]
phase = "webhook.mutating"
name = "Call mutating webhook"
service = "apiserver"
scope = "k8s.io/*"
kind = "internal"
parent = "Create"
leaf = true
request_verb = "create"

[rule.events]
"Request completed" = { before = "webhook.mutating", after = "webhook.patch" }
"Patch applied" = {}
"""


def test_every_field_of_a_rule_can_be_written():
    """The rule as it is made in Python."""
    assert parse_rules(WHOLE) == [
        k8strace.Rule(
            "webhook.mutating",
            name="Call mutating webhook",
            service="apiserver",
            scope="k8s.io/*",
            kind=1,
            parent="Create",
            leaf=True,
            request_verb="create",
            events={
                "Request completed": k8strace.components.Mark("webhook.mutating", "webhook.patch"),
                "Patch applied": k8strace.components.Mark(),
            },
        )
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("[[rule]\n", 1, 7, "expected"),
        ('[[rule]]\nphase = "a"\ncolour = "red"\n', 3, 1, "got 'colour'"),
        ('[[rule]]\nphase = "a"\n\n[[rule]]\nname = "b"\n', 4, 1, "expected a phase"),
        ('[[rule]]\nphase = "a"\n  kind = "serve"\n', 3, 3, "got 'serve'"),
        ('[[rule]]\nphase = "a"\nleaf = "yes"\n', 3, 1, "got 'yes'"),
        ("[[rule]]\nphase = 7\n", 2, 1, "got 7"),
        ("rules = 1\n", 1, 1, "got the key 'rules'"),
        ('[[rule]]\nphase = "a"\n[rule.events]\nx = 3\n', 4, 1, "got 3"),
        ('[[rule]]\nphase = "a"\n[rule.events]\n"x" = { behind = "b" }\n', 4, 9, "got 'behind'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, line, column, says):
    """Lines and columns counted by hand, from 1."""
    with pytest.raises(k8strace.RulesError) as raised:
        parse_rules(text, source="mesh.toml")
    assert says in str(raised.value)
    assert str(raised.value).startswith(f"mesh.toml, line {line}, column {column}: ")
    assert (raised.value.line, raised.value.column) == (line, column)


def test_rules_of_files_are_asked_first_and_in_their_order(tmp_path):
    for name, phase in (("a", "first.a"), ("b", "second.b")):
        (tmp_path / name).write_text(f'[[rule]]\nphase = "{phase}"\nservice = "apiserver"\n')
    taxonomy = k8strace.read_rules(tmp_path / "a", tmp_path / "b")
    assert [rule.phase for rule in taxonomy.rules[:2]] == ["first.a", "second.b"]
    requests = k8strace.join(
        k8strace.read("tests/data/field/f2-etcd-calls-all-failed.json"), taxonomy=taxonomy
    )
    assert set(k8strace.attribute(requests).totals) <= {
        "first.a",
        "etcd.server",
        "etcd.grpc",
        "etcd.opaque",
        "etcd.transport",
    }
