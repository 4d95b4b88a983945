"""A throwaway real Kubernetes for the demo, tests and benchmarks.

What starts, feeds and ends such a cluster belongs here; nothing of GuildNet's own way of the data
does. `cluster` is the way in: `up`, `down`, `status`, `load_image`.
"""
