"""The trusted half of the agent: credentials, contexts, publishing, the signed agent API.

It never runs git in a tree that the command can write, and reads the command's files only through
``guildnet_agent.exchange``. It waits for a signed ``POST /start``, and records each step in its
journal before taking it, so that a restarted supervisor continues where it was.
"""
