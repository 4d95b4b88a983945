"""The services, each run by its own component: reconciler, operator, agent, dashboard."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    pass
