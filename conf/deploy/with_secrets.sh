#!/bin/sh
# Runs a command with each secret NAME_FILE in the environment read into NAME: what takes secrets from variables alone gets them
# from files, which neither compose.yaml nor docker inspect shows.
set -eu
for name in $(env | sed -n 's/^\([A-Z_]*\)_FILE=.*/\1/p'); do
    eval "file=\$${name}_FILE"
    value=$(cat "$file")  # on a line of its own, so that a file that is not there ends it
    export "$name=$value"
done
exec "$@"
