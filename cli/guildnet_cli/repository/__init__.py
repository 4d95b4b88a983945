"""The state repository as the command sees it: a person's checkout, or a mirror of the remote.

Reads and writes the files of orgs and tasks, reads the status branch, commits, pushes and opens
pull requests.
"""
