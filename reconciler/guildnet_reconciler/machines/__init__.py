"""An org's Talos machines: compared with git, and kept as git says where the org allows it."""
