"""The program that answers git's questions for a name and a password, for one host alone."""

from __future__ import annotations

from pathlib import Path

# git asks "Username for 'https://host': " and "Password for 'https://user@host': ". The host stands
# at the end and is compared whole: with a git that decodes %40 and %27 in a URL, a redirect to
# http://x%40host'@evil/ asks a question in which the host stands as well.
_SCRIPT = """#!/bin/sh
# Answers git's questions for one host, from one file.
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
    """The program, in a folder of ours."""
    path = folder / "askpass"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(_SCRIPT)
        path.chmod(0o700)
    return path
