"""A model endpoint that plays a script instead of thinking, for the demo, tests and benchmarks.

It speaks the four wire protocols of coding agents, leads whichever agent calls it to repair one
file through the agent's own tools, reports exact usage, and fails on request.
`server.ScriptedModel` is the way in; `python -m guildnet_devcluster.scripted_model` serves it
from a command line.
"""
