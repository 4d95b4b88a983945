"""Read-only pages, a JSON API and live events, built from the state repository's two branches.

The dashboard writes only to its own mirror and never contacts a cluster.
"""
