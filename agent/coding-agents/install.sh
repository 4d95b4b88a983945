#!/bin/sh
# Install coding agents: install.sh FOLDER [AGENT ...], with npm and node on PATH.
# Every package comes from the agent's lock file, by its hash, and no package's script runs.
# An agent that is one binary is copied alone; of the others the packages stay in FOLDER.
set -eu
here=$(dirname "$0")
folder=$1
shift
mkdir -p "$folder/bin"
for agent; do
    if [ ! -f "$here/$agent/package-lock.json" ]; then
        known=$(cd "$here" && ls -d */ | tr -d /)
        echo "unknown agent $agent; known agents: $(echo $known)" >&2
        exit 1
    fi
    mkdir "$folder/$agent"
    cp "$here/$agent/package.json" "$here/$agent/package-lock.json" "$folder/$agent/"
    (cd "$folder/$agent" && npm ci --ignore-scripts --no-audit --no-fund)
    # The expansion is meant: the folder is named after the platform.
    binary=$(node -p "require('$folder/$agent/package.json').config.binary || ''")
    script=$(node -p "require('$folder/$agent/package.json').config.script || ''")
    if [ -n "$binary" ]; then
        install -m 0755 "$folder/$agent"/$binary "$folder/bin/"
        rm -r "${folder:?}/$agent"
    else
        find "$folder/$agent" -name '*.map' -delete
        ln -s "../$agent/$script" "$folder/bin/"
    fi
done
