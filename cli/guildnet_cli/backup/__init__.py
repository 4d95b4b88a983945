"""What git does not hold: found, kept in an encrypted archive, and compared with it."""
