"""This machine's place on an org's mesh, and the ways from it to agents' editors.

Clusters belong to `guildnet_cli.cluster`, the control server's policy to `guildnet.mesh`.
"""
