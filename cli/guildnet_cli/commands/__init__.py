"""The verbs: one module for each, or for each group such as `guildnet task`.

A module holds the options and help of its verbs and calls the code that does the work. It imports
that code when a verb runs, so that `--help` and completion answer at once.
"""
