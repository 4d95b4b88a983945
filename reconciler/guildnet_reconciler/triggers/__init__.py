"""What starts a pass: a webhook, the timer, the refs of a local repository."""
