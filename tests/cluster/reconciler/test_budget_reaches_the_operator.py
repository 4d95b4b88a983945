"""What runs use is recorded, counted and reported to the operator against the daily budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.cluster.reconciler.conftest import eventually

from guildnet import labels
from guildnet.kube import CONFIG_MAPS
from guildnet.record import usage_path

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
USED = {"requests": 3, "inputTokens": 900, "cachedInputTokens": 0, "outputTokens": 300}


async def test_a_spent_budget_is_in_the_orgs_config_map(site: Site, files: Files) -> None:
    """I6: and the record, the ledger and the ConfigMap agree after a restart."""
    org, task = files
    limits = "limits: {budget: {tokensPerDay: 1000}}\n"
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace, more=limits),
            "tasks/acme/a.yaml": task("a"),
        }
    )

    async def left() -> Any:
        data = (await site.client.get(CONFIG_MAPS, labels.ORG_CONFIG_MAP))["data"]
        return json.loads(data["budget"])["percentLeft"]["tokensPerDay"]

    async def is_spent() -> bool:
        return bool(await left() == 0)

    async with site.run():
        await site.until_task("a", bool)
        assert await left() == 100
        await site.report("a", "BudgetExceeded", usage=USED)
        record = await site.until_record("a", lambda record: record.get("result"))
        assert record["usage"] == USED
        await eventually(is_spent, what="a spent budget in the ConfigMap")
    async with site.run():
        site.repo.commit({"tasks/acme/b.yaml": task("b")})
        await site.until_task("b", bool)
        assert await left() == 0
    days = site.repo.status(usage_path("acme", datetime.now(UTC).date()))["days"]
    total = [sum(day[name] for day in days.values()) for name in ("runs", "inputTokens")]
    assert total == [1, 900]
