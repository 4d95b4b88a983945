"""Notifications of an org: who receives them, what they say, and how they are delivered."""
