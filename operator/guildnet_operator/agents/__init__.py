"""The operator's side of the agent API: a signed client, and one long poll for each agent."""
