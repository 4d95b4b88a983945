"""The demo takes out of clusters of one's own what it brought, and nothing else. Told last."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from guildnet import labels, schema
from guildnet_cli.demo.grounds import ORGS, namespace_of
from guildnet_cli.demo.telling import until

if TYPE_CHECKING:
    from tests.e2e.story.conftest import Telling

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_clusters_are_left_as_they_were_found(telling: Telling) -> None:
    """I2: its namespaces, operators and volumes are gone, the definition where it brought it."""
    during = await telling.inventory()
    for org in ORGS:
        assert {namespace_of(org), labels.OPERATOR_NAMESPACE} <= during[org, "namespaces"]
        definitions = during[org, "customresourcedefinitions"]
        assert schema.crd()["metadata"]["name"] in definitions
    surroundings = telling.story.surroundings
    await surroundings.close()
    await asyncio.to_thread(surroundings.down)
    assert not surroundings.folder.exists()

    async def as_before() -> bool | None:
        # Volumes go a moment after their claims.
        return await telling.inventory() == telling.before or None

    await until("state as before the demo", as_before, timedelta(seconds=60))
