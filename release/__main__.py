"""`python -m release`: make the files of a release of HEAD in dist/; publish nothing."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from release.build import git
from release.contents import release


def main() -> int:
    """Make the release; 1 with a message where that fails."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("dist"), help="replaced (dist)")
    parser.add_argument("--commit", default="HEAD", help="what is released (HEAD)")
    parser.add_argument("--agents", default="", help="the coding agents in the work image")
    parser.add_argument(
        "--dpkg-status",
        type=Path,
        metavar="FOLDER",
        help="copies of /var/lib/dpkg/status of the built images, as FOLDER/guildnet-operator and "
        "FOLDER/guildnet-work: adds their Debian packages with versions",
    )
    given = parser.parse_args()
    try:
        if git("status", "--porcelain"):
            print("note: uncommitted changes are not in the release", file=sys.stderr)
        files = release(given.commit, given.into, given.agents.split(), given.dpkg_status)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}\n{error.stderr or ''}".rstrip(), file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"{given.into / name}" for name in files))
    return 0


sys.exit(main())
