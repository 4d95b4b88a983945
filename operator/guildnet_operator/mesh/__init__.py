"""The agents' peers on the mesh's control server: made with their pods, removed with them.

`control_server` has what a control server can do; `headscale` and `tailscale` are the two that
are known, `api` sends their requests. `ownership` and `keys` decide, `keeper` acts.
"""
