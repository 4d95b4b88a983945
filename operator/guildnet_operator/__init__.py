"""The operator: runs an agent for each AgentTask of one namespace, and reports on it in status.

`handlers` only queue a key. `reconcile` then gathers the input (`observe`), decides what to do next
(`decisions`, pure) and does it (`act`). All state can be read again after a restart. What happens
inside an agent's pod belongs to `guildnet_agent`, which AgentTasks exist to the reconciler.
"""
