"""The `guildnet` command. It composes the components and makes no decisions of its own."""
