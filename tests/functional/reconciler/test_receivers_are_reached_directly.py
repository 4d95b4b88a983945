"""Without a proxy, a notification goes to the addresses that were checked, and to no others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.functional.reconciler.receiver import HOST, certificate, receiving

from guildnet.http_exchange import trust
from guildnet.notify.delivery import Courier, NotDelivered
from guildnet.notify.notices import Notice
from guildnet.notify.receivers import Receiver

NOTICE = Notice("abc", "Failed", "exit 1", task="fix", run=1)


@pytest.fixture
def pem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The receiver's certificate, which the courier trusts."""
    found = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "notify/acme").mkdir(parents=True)
    (tmp_path / "notify/acme/key").write_text("sesame-sesame")
    trust.cache_clear()
    yield found
    trust.cache_clear()


def resolve(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let HOST be at this address."""
    before = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        return before(address if host == HOST else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def deliver(folder: Path, port: int) -> None:
    courier = Courier("acme", folder)
    try:
        receiver = Receiver("ops", "webhook", "key", url=f"https://{HOST}:{port}/in")
        await courier.deliver(receiver, NOTICE)
    finally:
        courier.close()


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address besides loopback")
        return str(probe.getsockname()[0])


async def test_the_host_and_its_certificate_are_those_of_the_url(
    pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = own_address()
    resolve(monkeypatch, address)
    async with receiving(pem, address) as receiver:
        await deliver(tmp_path, receiver.port)
        [got] = receiver.got
        assert got.headers["host"] == f"{HOST}:{receiver.port}"


async def test_a_name_that_leads_to_this_machine_is_refused(
    pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, "127.0.0.1")
    async with receiving(pem) as receiver:
        with pytest.raises(NotDelivered, match=r"hooks.example is at 127.0.0.1 \(loopback\)"):
            await deliver(tmp_path, receiver.port)
        assert not receiver.got


async def test_a_certificate_that_is_not_trusted_is_refused(
    pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = own_address()
    resolve(monkeypatch, address)
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    trust.cache_clear()
    async with receiving(pem, address) as receiver:
        with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
            await deliver(tmp_path, receiver.port)
        assert not receiver.got
