"""The program that answers git's prompts for user name and password, for one host only."""

from __future__ import annotations

from pathlib import Path

# git asks "Username for 'https://host': " and "Password for 'https://user@host': ". The script
# compares the whole end of the prompt: some versions of git decode %40 and %27 in a URL, so the
# prompt for a redirect to http://x%40host'@evil/ contains the host too.
_SCRIPT = """#!/bin/sh
# Answers git's prompts for one host, from one file.
asked_for() {
  case "$2" in "Username for '$1://$GUILDNET_ASKPASS_HOST': ") return 0 ;; esac
  case "$2" in "Password for '$1://"*"@$GUILDNET_ASKPASS_HOST': ") ;; *) return 1 ;; esac
  user=${2#"Password for '$1://"}
  user=${user%"@$GUILDNET_ASKPASS_HOST': "}
  case "$user" in *[\\'/[:space:]]*) return 1 ;; esac
}
asked_for "$GUILDNET_ASKPASS_SCHEME" "$1" || asked_for https "$1" || exit 1
case "$1" in
  Username*) printf '%s\\n' "$GUILDNET_ASKPASS_USER" ;;
  Password*) exec cat "$GUILDNET_ASKPASS_FILE" ;;
esac
"""


def install_askpass(folder: Path) -> Path:
    """Write the program to a folder; return its path."""
    path = folder / "askpass"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(_SCRIPT)
        path.chmod(0o700)
    return path
