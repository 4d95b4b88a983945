"""The release before and this one, on the API server of the tier."""

from __future__ import annotations

from tests.cluster.reconciler.conftest import repo

__all__ = ["repo"]
