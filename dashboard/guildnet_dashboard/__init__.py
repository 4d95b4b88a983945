"""Read-only pages, JSON API and live events, from the state repository's two branches alone.

Nothing here writes anywhere but its own mirror, and nothing speaks to a cluster.
"""
