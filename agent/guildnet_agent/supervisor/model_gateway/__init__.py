"""The model gateway: the command's way to the org's model endpoint, and to nothing else.

It listens on the pod's loopback. The command authenticates with a key that is valid for one start;
the gateway replaces it with the provider's key, passes inference requests only, reads the usage
from the answers, and refuses further requests once the run's budget is spent.

Pure: `protocols`, `json_members`, `request_body`, `usage_reading`, `ledger`, `budget`, `access`.
I/O: `gateway` (ASGI), `upstream` (the provider), `usage_store` (disk).
"""
