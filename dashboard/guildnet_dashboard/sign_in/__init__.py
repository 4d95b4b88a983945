"""Sign-in with an OpenID Connect provider: authorization code flow with PKCE, sessions in signed
cookies, and bearer JWTs for the API.

`settings` (of the dashboard) say which provider; `provider` talks to it; `tokens` verifies what it
signed; `claims` turns claims into orgs; `sessions` signs and reads cookies; `access` decides who
sent a request; `routes` has the pages of the flow.
"""
