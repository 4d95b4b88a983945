"""The trusted half of the agent: credentials, contexts, publishing, the signed agent API.

It never runs git in a tree that the command could write, and reads what the command could write
only through ``guildnet_agent.exchange``. It begins nothing before a signed ``POST /start``,
and writes down what it began before doing it (``journal``), so that a restart goes on from there.
"""
