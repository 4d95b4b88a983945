"""git for the supervisor: credentials, bare repositories, and checks of bundles and packs.

Every tree here belongs to the supervisor: no git runs in a tree that the command can write.
"""
