"""Disposable Kubernetes clusters on this machine, for the demo, tests and benchmarks.

Only code that builds, starts and stops such clusters belongs here. The entry points are in
`cluster`: `up`, `down`, `status` and `load_image`.
"""
