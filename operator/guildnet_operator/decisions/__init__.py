"""What the operator does next for one AgentTask. Pure: no client, no clock, no file.

`decide` maps `inputs.Observed` to `actions.Decision`. The other modules answer its questions:
`provision` (up to the start), `admission` (slots), `follow` (while the agent works) and `finish`.
"""
