#!/bin/sh
# The operator of a federation, on the SuperLink's host: registers every public key that lies in a folder.
#   QFLOCK_SECURE=secure deploy/operator.sh
# QFLOCK_ENROLLED: that folder, else the one in which the authority makes the nodes' keys.
# Flower's configuration that it writes names the SuperLink: FLWR_HOME=state/operator qflock run RECIPE --on qflock
set -eu
: "${QFLOCK_SECURE:?is not set: name the folder that python -m deploy.authority made}"
QFLOCK_SECURE=$(cd "$QFLOCK_SECURE" && pwd)
QFLOCK_STATE=$(mkdir -p "${QFLOCK_STATE:-state}" && cd "${QFLOCK_STATE:-state}" && pwd)
export QFLOCK_ENROLLED="${QFLOCK_ENROLLED:-$QFLOCK_SECURE/nodes}" QFLOCK_AUTHORITY="$QFLOCK_SECURE/authority/ca.crt"
export QFLOCK_SUPERLINK="${QFLOCK_SUPERLINK:-127.0.0.1:${QFLOCK_PORT:-8000}}" FLWR_HOME="${FLWR_HOME:-$QFLOCK_STATE/operator}"
mkdir -p "$QFLOCK_ENROLLED"
cd "$(dirname "$0")/.."
. deploy/flower.sh
exec python -m deploy.operator
