"""`guildnet talos`: an org's Talos machines, made and kept from git.

Each verb asks the machines first and does what is left to do, so that it can be run again.
"""
