"""The operator: makes each AgentTask of one namespace a working agent, and says how it goes.

A handler only queues a key; `reconcile` looks at what is (`observe`), decides what next (`decide`,
pure) and carries it out (`act`). Nothing is remembered that cannot be looked up again. What an
agent does inside its pod belongs to `guildnet_agent`; which AgentTasks there are, to the
reconciler.
"""
