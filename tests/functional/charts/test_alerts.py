"""Alerts and the Grafana dashboard: promtool accepts them, and what they name exists."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.helm import CHARTS, CONTROL_PLANE_CHART, program

from guildnet_operator.metrics import Metrics as OperatorMetrics
from guildnet_reconciler.metrics import Metrics

FILES = CONTROL_PLANE_CHART / "files"
RUNBOOKS = CHARTS.parents[1] / "docs" / "runbooks"
ALERTS: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0][
    "rules"
]


def exported() -> set[str]:
    """The names of all series that a scrape of reconciler and operator can have."""
    operator = OperatorMetrics()
    for gauge in ("active", "queued", "keys"):
        operator.watch(gauge, gauge, lambda: 0)
    text = (Metrics().exposition() + operator.exposition()).decode()
    names = set(re.findall(r"^# TYPE (\w+) ", text, re.M))
    return names | {f"{name}_{part}" for name in names for part in ("bucket", "count", "sum")}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\bguildnet_(?!io_)\w+", expression))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_names_metrics_and_a_runbook_that_exist(alert: dict[str, Any]) -> None:
    found = metrics_in(alert["expr"])
    assert found
    assert found <= exported()
    page = alert["annotations"]["runbook_url"].removeprefix("RUNBOOKS/")
    text = (RUNBOOKS / page).read_text()
    assert f"`{alert['alert']}`" in text
    assert "**What still works.**" in text
    assert "**What to do.**" in text
    assert f"`{alert['alert']}`" in (RUNBOOKS / "README.md").read_text()


def test_the_grafana_dashboard_names_metrics_that_exist() -> None:
    dashboard = json.loads((FILES / "grafana.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    assert len(expressions) > 15
    for expression in expressions:
        assert metrics_in(expression) <= exported(), expression
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [str(program("promtool")), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", str(FILES / "alerts.yaml"))


def series(name: str, *values: str) -> dict[str, str]:
    return {"series": name, "values": " ".join(values)}


CASES: list[tuple[str, list[dict[str, str]], dict[str, str] | None]] = [
    ("GuildNetOrgNotSynced", [series('guildnet_org_in_sync{org="acme"}', "0x20")], {"org": "acme"}),
    # One replica waits for the Lease and exports nothing; another is in sync.
    ("GuildNetOrgNotSynced", [series('guildnet_org_in_sync{org="acme",pod="1"}', "1x20")], None),
    (
        "GuildNetRepositoryNotSynced",
        [series('guildnet_repository_ok{pod="1"}', "0x20")],
        {},
    ),
    (
        "GuildNetRepositoryNotSynced",
        [
            series('guildnet_repository_ok{pod="1"}', "0x20"),
            series('guildnet_repository_ok{pod="2"}', "1x20"),
        ],
        None,
    ),
    ("GuildNetReconcilerAbsent", [], {}),
    ("GuildNetDeletionsHeld", [series('guildnet_held{org="acme"}', "3x20")], {"org": "acme"}),
    (
        "GuildNetClusterUnreachable",
        [series('guildnet_cluster_reachable{org="acme"}', "0x20")],
        {"org": "acme"},
    ),
    (
        "GuildNetStatusNotPushed",
        [series("guildnet_status_branch_unpushed_seconds", "0+60x20")],
        {},
    ),
    ("GuildNetStatusNotPushed", [series("guildnet_status_branch_ok", "0x20")], {}),
    (
        "GuildNetCredentialEnds",
        [series('guildnet_credential_end_timestamp_seconds{org="acme"}', "100000x20")],
        {"org": "acme"},
    ),
    (
        "GuildNetCredentialEnds",
        [series('guildnet_credential_end_timestamp_seconds{org="acme"}', "900000x20")],
        None,
    ),
    (
        "GuildNetMachinesDrift",
        [
            series('guildnet_talos_machines{org="acme",state="drifted"}', "1x20"),
            series('guildnet_talos_machines{org="acme",state="inSync"}', "2x20"),
        ],
        {"org": "acme"},
    ),
    (
        "GuildNetMachinesDrift",
        [
            series('guildnet_talos_machines{org="acme",state="drifted"}', "0x20"),
            series('guildnet_talos_machines{org="acme",state="inSync"}', "3x20"),
        ],
        None,
    ),
    (
        "GuildNetBudgetNearlySpent",
        [series('guildnet_org_budget_used_ratio{org="acme"}', "0.81x20")],
        {"org": "acme"},
    ),
    (
        "GuildNetStateDiskFull",
        [
            series('guildnet_state_disk_free_bytes{pod="1"}', "5x20"),
            series('guildnet_state_disk_size_bytes{pod="1"}', "100x20"),
        ],
        {"pod": "1"},
    ),
]


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """promtool evaluates each rule over 15 minutes of a series; None: it must stay silent."""
    severities = {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS}
    assert {name for name, _, fires in CASES if fires is not None} == severities.keys()
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # else each case would have to repeat them
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules))
    tests = [
        {
            "interval": "1m",
            "input_series": given,
            "alert_rule_test": [
                {
                    "eval_time": "15m",
                    "alertname": name,
                    "exp_alerts": []
                    if fires is None
                    else [{"exp_labels": {"severity": severities[name], **fires}}],
                }
            ],
        }
        for name, given, fires in CASES
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", str(file))
