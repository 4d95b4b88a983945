from __future__ import annotations

import argparse
import signal
import sys


def run() -> int:
    """Run the shim. Settings come from the environment; the only argument is --help."""
    # The kernel ignores SIGTERM for process 1 unless it has a handler. Without this one, a pod
    # deleted during our imports would wait for its whole grace period.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import guildnet_agent.shim as package
    from guildnet_agent.shim.main import main

    argparse.ArgumentParser(package.__name__, description=package.__doc__).parse_args()
    return main()


if __name__ == "__main__":
    sys.exit(run())
