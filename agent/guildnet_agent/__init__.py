"""The agent: one pod, two trust domains.

``supervisor`` holds the forge's credentials and the agent API; ``shim`` is process 1 beside the
command and holds nothing. They meet in ``exchange`` alone. What both need and what works without
any dependency belongs here; ``shim`` and everything it imports is standard library only.
"""
