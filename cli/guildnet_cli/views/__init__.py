"""Plans and records as text. Pure functions of data that a verb has read."""
