"""Addresses that only a machine itself may use are recognised in whichever form."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.addresses import forbidden_scope, is_forbidden, is_loopback

FORBIDDEN_IPV4 = [
    "127.0.0.1",
    "127.255.1.2",
    "169.254.169.254",
    "169.254.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.1.2.3",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
]
ALLOWED_IPV4 = ["93.184.216.34", "10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1"]


def embeddings(address: str) -> list[str]:
    """IPv6 addresses that deliver to an IPv4 address."""
    number = int(ipaddress.IPv4Address(address))
    four = number.to_bytes(4)
    local = ipaddress.IPv6Address("64:ff9b:1::").packed
    forms = [
        int(ipaddress.IPv6Address(prefix)) | number
        for prefix in ("::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "64:ff9b:1:7::")
    ]
    forms += [
        (0x2002 << 112) | (number << 80) | 1,
        int(ipaddress.IPv6Address("2001:0:4136:e378:8000:63bf::")) | (number ^ 0xFFFFFFFF),
        int(ipaddress.IPv6Address("2001:db8::5efe:0:0")) | number,
        int(ipaddress.IPv6Address("2001:db8::200:5efe:0:0")) | number,
        int.from_bytes(local[:6] + four[:2] + b"\0" + four[2:] + bytes(5)),
        int.from_bytes(local[:7] + four[:1] + b"\0" + four[1:] + bytes(4)),
        int.from_bytes(local[:8] + b"\0" + four + bytes(3)),
    ]
    return [str(ipaddress.IPv6Address(form)) for form in forms]


@pytest.mark.parametrize("address", FORBIDDEN_IPV4)
def test_an_address_of_the_machine_is_refused_in_each_form(address: str) -> None:
    assert is_forbidden(address)
    for form in embeddings(address):
        # 0.0.0.0/8 in NAT64's local prefix looks like the zeros of a shorter prefix.
        if not (address.startswith("0.") and form.startswith("64:ff9b:1:")):
            assert is_forbidden(form), form


@pytest.mark.parametrize("address", ALLOWED_IPV4)
def test_an_address_elsewhere_is_allowed_in_each_form(address: str) -> None:
    """Clusters with IPv6 alone reach hosts with IPv4 through NAT64."""
    assert forbidden_scope(address) is None
    for form in embeddings(address):
        assert forbidden_scope(form) is None, form


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("::1", "loopback"),
        ("::", "unspecified"),
        ("fe80::1%eth0", "link-local"),
        ("febf::1", "link-local"),
        ("ff02::1", "multicast"),
        ("fd00:ec2::254", "a cloud's metadata service"),
        ("fd20:ce::254", "a cloud's metadata service"),
        ("::169.254.169.254", "link-local (169.254.169.254)"),
        ("64:ff9b::a9fe:a9fe", "link-local (169.254.169.254)"),
        ("64:ff9b:1::", "unspecified (0.0.0.0)"),
        ("fd00:ec2::253", None),
        ("fd12:3456::1", None),
        ("2606:2800:220:1::1", None),
    ],
)
def test_the_scope_is_named(address: str, scope: str | None) -> None:
    assert forbidden_scope(address) == scope


def test_loopback_is_recognised_in_each_form() -> None:
    assert is_loopback("::1")
    assert is_loopback("127.8.8.8")
    assert all(is_loopback(form) for form in embeddings("127.0.0.1"))
    assert not is_loopback("169.254.169.254")
    assert not any(is_loopback(form) for form in embeddings("10.0.0.1"))


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0x7f000001", "::g", "1.2.3.4/32"])
def test_what_is_not_an_address_is_not_judged(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        forbidden_scope(text)


@given(st.ip_addresses())
def test_every_address_gets_a_judgement(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    scope = forbidden_scope(str(address))
    if address.is_loopback or address.is_link_local or address.is_multicast:
        assert scope is not None
