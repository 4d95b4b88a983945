"""The state repository as far as it was followed, and what its commits approve."""
