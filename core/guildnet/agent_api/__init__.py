"""What agent, operator and dashboard agree on: the agent's state, its artifacts, and signing.

The supervisor sends an `AgentState`, the operator parses it, and both sign. Standard library only:
the work container loads a part of it.
"""
