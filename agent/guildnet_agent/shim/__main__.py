from __future__ import annotations

import argparse
import signal
import sys


def run() -> int:
    """Settings come from the environment alone; the arguments only answer --help."""
    # Process 1 has no default action for SIGTERM: without this, a pod that is deleted while we
    # still import would stay for its whole grace period.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import guildnet_agent.shim as package
    from guildnet_agent.shim.main import main

    argparse.ArgumentParser(package.__name__, description=package.__doc__).parse_args()
    return main()


if __name__ == "__main__":
    sys.exit(run())
