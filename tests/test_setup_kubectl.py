"""
`kubectl k8strace why`: the real kubectl resolves its configuration, and the stand-in of the probe's tests answers.

kubectl only reads files here: it asks no server.
"""

from __future__ import annotations

import base64
import json
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from test_setup_probe import TOKEN, Apiserver, free_port

from k8strace.cli.kubectl import main

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def configuration(folder: Path, server: str, ca: Path | None, user: dict) -> Path:
    """Two contexts: `here`, which is current, and one of another cluster that nobody answers at."""
    trust = (
        {"certificate-authority-data": base64.b64encode(ca.read_bytes()).decode()}
        if ca
        else {"insecure-skip-tls-verify": True}
    )
    written = folder / "config"
    written.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [
                    {"name": "one", "cluster": {"server": server, **trust}},
                    {"name": "two", "cluster": {"server": "https://127.0.0.1:1"}},
                ],
                "users": [{"name": "me", "user": user}],
                "contexts": [
                    {"name": "here", "context": {"cluster": "one", "user": "me", "namespace": "shop"}},
                    {"name": "there", "context": {"cluster": "two", "user": "me"}},
                ],
            }
        )
    )
    return written


def why(apiserver: Apiserver, folder: Path, user: dict, *words: str, trusted: bool = True) -> int:
    """The command, as a user types it."""
    apiserver.receiver = free_port()
    config = configuration(folder, apiserver.url, apiserver.ca if trusted else None, user)
    return main(["why", *words, f"--kubeconfig={config}", f"--listen=127.0.0.1:{apiserver.receiver}"])


def asked_paths(apiserver: Apiserver) -> set[str]:
    return {path for path, headers in apiserver.seen if headers["User-Agent"].startswith("k8strace-probe/")}


@pytest.mark.slow
def test_the_request_is_kubectls_and_its_tree_is_shown(tmp_path, capsys):
    """Server, authority, token and namespace come from the current context; the token is nowhere in the output."""
    with Apiserver(tmp_path) as apiserver:
        assert why(apiserver, tmp_path, {"token": TOKEN}, "pods") == 0
    out, err = capsys.readouterr()
    assert asked_paths(apiserver) == {"/api/v1/namespaces/shop/pods"}
    assert {headers.get("Authorization") for _, headers in apiserver.seen} == {f"Bearer {TOKEN}"}
    assert "etcdserverpb.KV/Range" in out
    assert TOKEN not in out + err


def test_a_plugin_for_credentials_is_asked(tmp_path, capsys):
    """An exec plugin, as clouds have them: told what it is asked for, and its token is sent."""
    plugin = tmp_path / "credentials"
    status = {"status": {"token": TOKEN}}
    plugin.write_text(
        f"#!{sys.executable}\nimport os, json\n"
        "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
        f"assert os.environ['WHO'] == 'me'\nprint({json.dumps(json.dumps(status))})\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "env": [{"name": "WHO", "value": "me"}],
            "interactiveMode": "Never",
        }
    }
    with Apiserver(tmp_path) as apiserver:
        assert why(apiserver, tmp_path, user, "nodes", "n1", "--json", trusted=False) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "found"
    assert asked_paths(apiserver) == {"/api/v1/nodes/n1"}
    assert {headers.get("Authorization") for _, headers in apiserver.seen} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--context=nowhere"], "nowhere"),
        (["--context=there"], "127.0.0.1:1"),
    ],
)
def test_what_kubectl_cannot_reach_is_one_line(tmp_path, capsys, words, told):
    """No such context; nobody there. No traceback, not zero."""
    config = configuration(tmp_path, "https://127.0.0.1:1", None, {"token": TOKEN})
    code = main(["why", "pods", f"--kubeconfig={config}", f"--listen=127.0.0.1:{free_port()}", *words])
    assert code != 0
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert TOKEN not in error


def test_a_half_named_resource_is_wrong_usage(tmp_path, capsys):
    """Version and group belong together."""
    config = configuration(tmp_path, "https://127.0.0.1:1", None, {})
    assert main(["why", "deployments.apps", f"--kubeconfig={config}"]) == 2
    assert "deployments.v1.apps" in capsys.readouterr().err


def test_no_credential_is_left_behind(tmp_path, monkeypatch):
    """The files that held them are gone, whatever came of it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    config = configuration(tmp_path, "https://127.0.0.1:1", None, {"token": TOKEN})
    assert main(["why", "pods", f"--kubeconfig={config}", f"--listen=127.0.0.1:{free_port()}"]) != 0
    assert list((tmp_path / "tmp").iterdir()) == []
