"""The demo removes what it installed in the user's clusters and nothing else. Runs last."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from guildnet import labels, schema
from guildnet_demo.sites import ORGS, namespace_of
from guildnet_demo.steps import until

if TYPE_CHECKING:
    from tests.e2e.scenario.conftest import ScenarioRun

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_clusters_are_left_as_they_were_found(scenario_run: ScenarioRun) -> None:
    """I2: its namespaces, operators and volumes are gone, the definition where it brought it."""
    during = await scenario_run.inventory()
    for org in ORGS:
        assert {namespace_of(org), labels.OPERATOR_NAMESPACE} <= during[org, "namespaces"]
        definitions = during[org, "customresourcedefinitions"]
        assert schema.crd()["metadata"]["name"] in definitions
    environment = scenario_run.scenario.environment
    await environment.close()
    await asyncio.to_thread(environment.down)
    assert not environment.folder.exists()

    async def as_before() -> bool | None:
        # Volumes go a moment after their claims.
        return await scenario_run.inventory() == scenario_run.before or None

    await until("state as before the demo", as_before, timedelta(seconds=60))
