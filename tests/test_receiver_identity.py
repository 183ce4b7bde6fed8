"""Who may not send is refused before the body is read, and secrets are seen nowhere."""

from __future__ import annotations

import datetime as dt
import hmac
import logging
import os
import pickle
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import grpc
import pytest
import trustme
from receivers import EXPORT, TRANSPORTS, Kept, request_of, serving, span

from k8strace.receiver import Identity, IdentityError, Limits, Receipt, Secret, ServerTls, Tokens
from k8strace.receiver.intake import identity as identity_module

TOKEN = "a-token-that-is-known-to-nobody-else"
OTHER = "another-token-that-is-known-as-well"
NEAR_MISSES = {
    "none": None,
    "empty": "",
    "no scheme": TOKEN,
    "another scheme": f"Basic {TOKEN}",
    "no token": "Bearer ",
    "one character less": f"Bearer {TOKEN[:-1]}",
    "one character more": f"Bearer {TOKEN}x",
    "another last character": f"Bearer {TOKEN[:-1]}X",
    "another case": f"Bearer {TOKEN.upper()}",
    "two tokens": f"Bearer {TOKEN} {OTHER}",
    "a comma": f"Bearer {TOKEN},Bearer {TOKEN}",
}


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": token}


# ── Tokens ────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_right_token_is_let_in(transport: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    sink = Kept()
    with serving(transport, sink, identity=Identity(Tokens([TOKEN, OTHER]))) as send:
        for authorization in NEAR_MISSES.values():
            answer = send(request_of(span()), headers=bearer(authorization))
            assert answer.status in ("UNAUTHENTICATED", 401)
            assert answer.error.code == 16
            assert TOKEN not in answer.message
            assert answer.headers.get("www-authenticate", "Bearer").startswith("Bearer")
        assert sink.batches == []
        for token in (TOKEN, OTHER):
            assert send(request_of(span()), headers=bearer(f"Bearer {token}")).ok
            assert send(request_of(span()), headers=bearer(f"bearer  {token}")).ok
        assert send.intake.rejections["unauthenticated"] == len(NEAR_MISSES)
        shown = f"{send.intake.identity!r} {send.intake.identity} {vars(send.intake)}"
    assert TOKEN not in caplog.text
    assert TOKEN not in shown


def test_unknown_senders_are_refused_before_the_body_over_http():
    with (
        serving("http/protobuf", Kept(), identity=Identity(Tokens([TOKEN]))) as send,
        socket.create_connection(("localhost", send.port), timeout=5) as connection,
    ):
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n")
        connection.sendall(b"Content-Length: 9999\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("transport", ["grpc", "grpc.aio"])
def test_unknown_senders_are_refused_before_the_body_over_grpc(transport: str):
    """The answer comes while the request is still to be sent."""

    def never():
        time.sleep(3)
        yield b""

    started = time.monotonic()
    with (
        serving(transport, Kept(), identity=Identity(Tokens([TOKEN]))) as send,
        grpc.insecure_channel(f"localhost:{send.port}") as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(EXPORT)(never(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert time.monotonic() - started < 2


def test_unknown_senders_do_not_learn_that_we_are_busy(transport: str):
    entered, leave = threading.Event(), threading.Event()

    def accept(_: bytes, meta: Any) -> Receipt:
        entered.set()
        leave.wait(20)
        return Receipt(meta.spans)

    known = bearer(f"Bearer {TOKEN}")
    limits = Limits(workers=1, waiting_requests=1)
    with (
        serving(transport, Kept(accept), identity=Identity(Tokens([TOKEN])), limits=limits) as send,
        ThreadPoolExecutor(2) as pool,
    ):
        taken = [pool.submit(send, request_of(span()), headers=known)]
        assert entered.wait(10)
        taken.append(pool.submit(send, request_of(span()), headers=known))
        while send.intake.counts()[transport.removesuffix(".aio")].requests_received + len(taken) < 3:
            time.sleep(0.01)
        time.sleep(0.2)
        assert send(request_of(span()), headers=known).status in ("UNAVAILABLE", 429)
        assert send(request_of(span())).status in ("UNAUTHENTICATED", 401)
        leave.set()
        assert all(each.result().ok for each in taken)


def test_all_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    compared = []

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    tokens = Tokens([TOKEN, OTHER, TOKEN + OTHER])
    monkeypatch.setattr(identity_module, "hmac", SimpleNamespace(compare_digest=compare_digest))
    for authorization in (f"Bearer {TOKEN}", "Bearer x", None):
        compared.clear()
        tokens.accept(authorization)
        assert compared == [(32, 32)] * 3, "three digests of one length, whatever was sent"


def test_tokens_in_a_file_can_be_exchanged(tmp_path: Path):
    file = tmp_path / "tokens"
    file.write_text(f"# of cluster a\n{TOKEN}\n\n")
    tokens = Tokens.from_file(file)
    assert tokens.accept(f"Bearer {TOKEN}")
    assert not tokens.accept("Bearer # of cluster a")

    file.write_text(f"{TOKEN}\n{OTHER}\n")
    assert tokens.accept(f"Bearer {TOKEN}")
    assert tokens.accept(f"Bearer {OTHER}")

    new = tmp_path / "new"
    new.write_text(OTHER)
    new.replace(file)
    assert not tokens.accept(f"Bearer {TOKEN}")
    assert tokens.accept(f"Bearer {OTHER}")

    file.unlink()
    assert not tokens.accept(f"Bearer {OTHER}"), "a file that is gone lets nobody in"
    file.write_text("")
    assert not tokens.accept(f"Bearer {OTHER}")
    assert not tokens.accept("Bearer ")
    file.write_text(f"{OTHER}\n")
    assert tokens.accept(f"Bearer {OTHER}")


def test_tokens_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("K8STRACE_TOKENS", f"{TOKEN}, {OTHER}")
    tokens = Tokens.from_environment("K8STRACE_TOKENS")
    assert tokens.accept(f"Bearer {TOKEN}")
    assert tokens.accept(f"Bearer {OTHER}".encode())
    monkeypatch.delenv("K8STRACE_TOKENS")
    with pytest.raises(IdentityError, match="K8STRACE_TOKENS"):
        Tokens.from_environment("K8STRACE_TOKENS")


def test_tokens_that_cannot_be_used_are_refused_without_showing_them(tmp_path: Path):
    with pytest.raises(IdentityError, match="at least one token"):
        Tokens([])
    with pytest.raises(IdentityError, match="at least 16 characters") as caught:
        Tokens([TOKEN, "short-secret"])
    assert "short-secret" not in str(caught.value)
    with pytest.raises(IdentityError, match="FileNotFoundError"):
        Tokens.from_file(tmp_path / "missing")
    (tmp_path / "binary").write_bytes(b"\xff" + TOKEN.encode())
    with pytest.raises(IdentityError) as caught:
        Tokens.from_file(tmp_path / "binary")
    assert TOKEN not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_secret_shows_itself_nowhere():
    secret = Secret(TOKEN)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", f"{[secret]}", repr(Tokens([TOKEN]))]
    assert all("***" in each and TOKEN not in each for each in shown)
    assert not any(TOKEN in repr(getattr(secret, name)) for name in secret.__slots__)
    assert secret.matches(TOKEN.encode())
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


# ── Certificates ──────────────────────────────────────────────────────────────────────────────────


class Pki(NamedTuple):
    """A server's files, and what clients may show."""

    folder: Path
    authority: trustme.CA
    stranger: trustme.CA

    def tls(self, **settings: Any) -> ServerTls:
        return ServerTls(
            self.folder / "server.pem",
            self.folder / "server.key",
            client_ca=self.folder / "ca.pem",
            **settings,
        )


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    authority = trustme.CA()
    issue_server(authority, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return Pki(tmp_path, authority, trustme.CA())


def issue_server(authority: trustme.CA, folder: Path) -> None:
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    for number, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(str(folder / "server.pem"), append=number > 0)


def client_tls(transport: str, trusted: trustme.CA, certificate: trustme.LeafCert | None) -> Any:
    """What a client needs: gRPC's credentials or a context of ssl."""
    if transport.startswith("grpc"):
        pair = {}
        if certificate:
            chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
            pair = {"private_key": certificate.private_key_pem.bytes(), "certificate_chain": chain}
        return grpc.ssl_channel_credentials(trusted.cert_pem.bytes(), **pair)
    context = ssl.create_default_context()
    trusted.configure_trust(context)
    if certificate:
        certificate.configure_cert(context)
    return context


def sent(send: Any, tls: Any) -> str | int:
    """The status; "refused" if the connection was."""
    try:
        answer = send(request_of(span()), tls=tls)
    except (OSError, ssl.SSLError, EOFError):
        return "refused"
    except Exception as error:  # noqa: BLE001 - http.client has several
        return f"refused: {type(error).__name__}"
    return answer.status


def is_refused(status: str | int) -> bool:
    """Over TLS 1.3 a client may learn only when it reads."""
    return status in ("UNAVAILABLE", "UNAUTHENTICATED", 401) or str(status).startswith("refused")


def test_a_client_with_the_right_certificate_is_let_in(transport: str, pki: Pki):
    sink = Kept()
    with serving(transport, sink, tls=pki.tls()) as send:
        certificate = pki.authority.issue_cert("apiserver.example")
        assert sent(send, client_tls(transport, pki.authority, certificate)) in ("OK", 200)
    assert sink.spans == [span()]


@pytest.mark.parametrize("flaw", ["no certificate", "another authority", "expired", "plaintext"])
def test_a_client_without_is_refused_before_it_sends(transport: str, pki: Pki, flaw: str):
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = {
        "another authority": lambda: pki.stranger.issue_cert("apiserver.example"),
        "expired": lambda: pki.authority.issue_cert("apiserver.example", not_before=past, not_after=past),
    }.get(flaw, lambda: None)()
    sink = Kept()
    with serving(transport, sink, tls=pki.tls()) as send:
        tls = None if flaw == "plaintext" else client_tls(transport, pki.authority, certificate)
        assert is_refused(sent(send, tls))
        counts = send.intake.counts()
    assert sink.batches == []
    assert not any(each.requests_received for each in counts.values()), "no request came about"


def test_a_client_with_another_name_is_refused(transport: str, pki: Pki):
    """Over HTTP in the handshake, since ASGI servers do not tell names; over gRPC before the message is read."""
    names = frozenset({"apiserver.example", "etcd.example"})
    tls = pki.tls(client_names=names)
    grpc_only = {"identity": Identity(client_names=names)} if transport.startswith("grpc") else {}
    sink = Kept()
    with serving(transport, sink, tls=tls, **grpc_only) as send:
        stranger = pki.authority.issue_cert("somebody.example")
        assert is_refused(sent(send, client_tls(transport, pki.authority, stranger)))
        assert sink.batches == []
        for name in sorted(names):
            friend = pki.authority.issue_cert(name)
            assert sent(send, client_tls(transport, pki.authority, friend)) in ("OK", 200)
        common = pki.authority.issue_cert("else.example", common_name="etcd.example")
        assert sent(send, client_tls(transport, pki.authority, common)) in ("OK", 200)


@pytest.mark.parametrize("checked", [True, False])
def test_names_that_no_server_tells_let_nobody_in(pki: Pki, checked: bool):
    """Unless the handshake checks them, which the program says."""
    names = frozenset({"apiserver.example"})
    settings = {"identity": Identity(client_names=names), "names_checked": checked}
    with serving("http/protobuf", Kept(), tls=pki.tls(client_names=names), **settings) as send:
        certificate = pki.authority.issue_cert("apiserver.example")
        status = sent(send, client_tls("http", pki.authority, certificate))
    assert status == (200 if checked else 401)


def test_a_server_that_clients_do_not_trust_gets_nothing(transport: str, pki: Pki):
    sink = Kept()
    with serving(transport, sink, tls=pki.tls()) as send:
        certificate = pki.authority.issue_cert("apiserver.example")
        assert is_refused(sent(send, client_tls(transport, pki.stranger, certificate)))
    assert sink.batches == []


def test_tls_below_1_2_is_refused(pki: Pki):
    context = pki.tls().ssl_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_new_certificate_counts_from_the_next_connection_on(transport: str, pki: Pki):
    """And a client that trusts only the new authority is served then."""
    tls = pki.tls()
    with serving(transport, Kept(), tls=tls) as send:
        old = client_tls(transport, pki.authority, pki.authority.issue_cert("a.example"))
        new = client_tls(transport, pki.stranger, pki.stranger.issue_cert("a.example"))
        assert sent(send, old) in ("OK", 200)
        assert is_refused(sent(send, new))
        (pki.folder / "server.key").write_text("half written")
        assert sent(send, old) in ("OK", 200), "the last sound files count"
        issue_server(pki.stranger, pki.folder)
        pki.stranger.cert_pem.write_to_path(str(pki.folder / "ca.pem"))
        assert sent(send, new) in ("OK", 200)
        assert is_refused(sent(send, old))


def test_files_that_cannot_be_used_are_told_at_once(pki: Pki):
    folder = pki.folder
    with pytest.raises(IdentityError, match=r"missing\.pem"):
        ServerTls(folder / "missing.pem", folder / "server.key")
    with pytest.raises(IdentityError, match="client_ca"):
        ServerTls(folder / "server.pem", folder / "server.key", client_names=["a"])
    other = pki.stranger.issue_cert("localhost")
    other.private_key_pem.write_to_path(str(folder / "other.key"))
    with pytest.raises(IdentityError) as caught:
        ServerTls(folder / "server.pem", folder / "other.key")
    assert "PRIVATE" not in str(caught.value)
    assert os.fspath(folder / "server.pem") in str(caught.value)
