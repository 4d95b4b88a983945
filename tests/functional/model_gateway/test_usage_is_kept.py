"""The ledger on disk: the newest state, of one run, unharmed by what lies in its place."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from guildnet_agent.supervisor.model_gateway.ledger import Amount, Ledger
from guildnet_agent.supervisor.model_gateway.usage_store import UsageStore


async def test_the_newest_ledger_is_read_again(tmp_path: Path) -> None:
    store = UsageStore(tmp_path / "usage.json")
    assert store.read(1) is None
    ledger = Ledger()
    for _ in range(50):
        ledger = ledger.add("m", Amount(1, 10, 5, 2, Decimal("0.001")))
        store.keep(1, ledger)
    await store.flush()
    again = UsageStore(tmp_path / "usage.json")
    assert again.read(1) == ledger
    assert again.read(2) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run": 1}', b'{"run": 1, "ledger": 3}'])
async def test_a_broken_file_is_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(content)
    store = UsageStore(path)
    assert store.read(1) is None
    store.keep(1, Ledger({"m": Amount(requests=1)}))
    await store.flush()
    assert store.read(1) == Ledger({"m": Amount(requests=1)})
