"""What the operator looks up at intervals because no watch of its namespace reports it.

DNS servers and LimitRanges come from the API server, addresses of egress names from DNS. A failed
lookup keeps the last answer, so that it never stops an agent.
"""
