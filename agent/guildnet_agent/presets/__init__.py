"""How each coding agent is called, and what its output means.

One module for each agent, each with one `Preset`; `registry` finds them by name. Pure, and
standard library only: the work side runs it without the product's dependencies. To add an agent
see docs/models.md.
"""
