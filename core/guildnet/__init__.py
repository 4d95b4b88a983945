"""The words of GuildNet's domain: what every component shares.

Here belong resources, schemas, names, conditions, digests and errors, and, in `git`, `kube` and
`forges`, the only code that knows those outsides. Nothing here imports a component.
"""

__version__ = "0.2.0"
