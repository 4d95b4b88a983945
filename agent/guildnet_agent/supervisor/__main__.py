from __future__ import annotations

import argparse
import sys

import guildnet_agent.supervisor as package
from guildnet_agent.supervisor.main import main

# Settings come from the environment alone; this only answers --help.
argparse.ArgumentParser(package.__name__, description=package.__doc__).parse_args()
sys.exit(main())
