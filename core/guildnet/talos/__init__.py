"""An org's Talos machines: what git says about them, and how they are asked and changed.

`spec`, `rules` and `patches` are pure. `talosctl` runs the program; everything that talks to a
machine goes through it. Nothing here decides when a machine is changed: the callers do.
"""
