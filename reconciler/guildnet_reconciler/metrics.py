"""Prometheus metrics. Each reconciler has its own registry, so that tests can run two."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """All metrics by what they measure; durations are seconds."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.step_seconds = Histogram(
            "guildnet_step_seconds",
            "Duration of a step",
            ["step", "org"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.passes = Counter(
            "guildnet_passes_total",
            "Passes by how they ended",
            ["org", "outcome"],
            registry=registry,
        )
        self.queue_age = Gauge(
            "guildnet_queue_age_seconds",
            "How long the taken-up work had waited",
            ["org"],
            registry=registry,
        )
        self.api_requests = Counter(
            "guildnet_api_requests_total",
            "Requests to an org's API server (code 0: no answer)",
            ["org", "verb", "code"],
            registry=registry,
        )
        self.loop_lag = Histogram(
            "guildnet_loop_lag_seconds",
            "How late this process itself runs: the event loop of passes, and that of Leases",
            ["loop"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_in_flight = Gauge(
            "guildnet_requests_in_flight", "Requests to API servers under way", registry=registry
        )
        self.requests_waiting = Gauge(
            "guildnet_requests_waiting",
            "Requests that wait for their turn, so that no API server is overloaded",
            registry=registry,
        )
        self.leases_lost = Counter(
            "guildnet_leases_lost_total", "Leases lost while at work", ["org"], registry=registry
        )
        self.held = Gauge("guildnet_held", "Deletions and moves held", ["org"], registry=registry)
        self.quarantined = Gauge(
            "guildnet_quarantined_files", "Files that cannot be used", ["org"], registry=registry
        )
        self.faults = Gauge("guildnet_faults", "Open faults of an org", ["org"], registry=registry)
        self.reachable = Gauge(
            "guildnet_cluster_reachable",
            "Whether the org's API server answers",
            ["org"],
            registry=registry,
        )
        self.in_sync = Gauge(
            "guildnet_org_in_sync",
            "Whether the org's last pass left nothing to do; only of the replica with its Lease",
            ["org"],
            registry=registry,
        )
        self.budget_used = Gauge(
            "guildnet_org_budget_used_ratio",
            "Used part of the org's budget of the day, of the limit of which most is used",
            ["org"],
            registry=registry,
        )
        self.credential_end = Gauge(
            "guildnet_credential_end_timestamp_seconds",
            "When the first certificate or token of the org's kubeconfig expires",
            ["org"],
            registry=registry,
        )
        self.drift = Counter(
            "guildnet_drift_corrected_total",
            "AgentTasks restored after a change in the cluster",
            ["org"],
            registry=registry,
        )
        self.machines = Gauge(
            "guildnet_talos_machines",
            "Talos machines of an org by how they compare with git",
            ["org", "state"],
            registry=registry,
        )
        self.repository_ok = Gauge(
            "guildnet_repository_ok",
            "Whether the state repository can be followed",
            registry=registry,
        )
        self.status_commits = Gauge(
            "guildnet_status_commits", "Commits made on the status branch", registry=registry
        )
        self.status_ok = Gauge(
            "guildnet_status_branch_ok",
            "Whether the status branch can be written",
            registry=registry,
        )
        self.status_unpushed = Gauge(
            "guildnet_status_branch_unpushed_seconds",
            "How long the oldest change of a record has waited to be pushed",
            registry=registry,
        )
        self.mirror_bytes = Gauge(
            "guildnet_mirror_size_bytes", "Size of the repository's mirror", registry=registry
        )
        self.state_free = Gauge(
            "guildnet_state_disk_free_bytes",
            "Free bytes of the file system with the state folder",
            registry=registry,
        )
        self.state_size = Gauge(
            "guildnet_state_disk_size_bytes",
            "Size of the file system with the state folder",
            registry=registry,
        )
        self.webhooks = Counter(
            "guildnet_webhooks_total",
            "Webhooks by provider and answer",
            ["provider", "code"],
            registry=registry,
        )

    def set_credential_end(self, org: str, end: datetime | None) -> None:
        """`end` None: nothing says when the credential expires."""
        if end is None:
            _forget(self.credential_end, org)
        else:
            self.credential_end.labels(org).set(end.timestamp())

    def set_machines(self, org: str, counts: Mapping[str, int] | None) -> None:
        """`counts` are machines by state; None: the org's machines are not looked at."""
        if counts is None:
            self.machines.remove_by_labels({"org": org})
        for state, count in (counts or {}).items():
            self.machines.labels(org, state).set(count)

    def forget_org(self, org: str) -> None:
        """Another replica reports on the org: what this one knows is out of date."""
        self.set_machines(org, None)
        for gauge in (
            self.in_sync,
            self.held,
            self.quarantined,
            self.faults,
            self.reachable,
            self.budget_used,
        ):
            _forget(gauge, org)

    @contextmanager
    def timed(self, step: str, org: str) -> Iterator[None]:
        """Measure how long a step takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.step_seconds.labels(step, org).observe(time.perf_counter() - began)

    def watch_disk(self, state_dir: Path) -> None:
        """Read the size and the free space of the state folder's file system at each scrape."""

        def usage(part: str) -> float:
            try:
                return float(getattr(shutil.disk_usage(state_dir), part))
            except OSError:
                return math.nan

        self.state_free.set_function(lambda: usage("free"))
        self.state_size.set_function(lambda: usage("total"))

    def exposition(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)


def _forget(gauge: Gauge, org: str) -> None:
    with suppress(KeyError):
        gauge.remove(org)
