"""A model endpoint that follows a script instead of a model, for the demo, tests and benchmarks.

It supports the four wire protocols of coding agents, makes the calling agent repair one file with
its own tools, reports exact usage, and fails on request. The entry point is
`server.ScriptedModel`; `python -m guildnet_devcluster.scripted_model` serves it as a program.
"""
