"""An org's cluster as the command sees it: found, installed into, checked, and forwarded to."""
