"""What all orgs share, and of which each has a bounded part."""
