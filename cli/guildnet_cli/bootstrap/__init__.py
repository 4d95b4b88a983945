"""`guildnet bootstrap`: makes or completes a state repository on a forge."""
