"""One org's passes: its session with its cluster, its claim, its tasks and their records."""
