"""The `guildnet` command: verbs that compose the components; nothing is decided here.

A module holds the verbs of one subject and imports what they need when they run. What a verb
prints is made by pure functions beside it.
"""
