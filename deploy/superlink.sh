#!/bin/sh
# The SuperLink of a federation on this host, which also runs its ServerApp:
#   python -m deploy.authority secure --host fed.example.org --nodes 3
#   QFLOCK_SECURE=secure deploy/superlink.sh
# QFLOCK_STATE: where it keeps its nodes and runs; QFLOCK_HOST, QFLOCK_PORT: where it listens.
set -eu
: "${QFLOCK_SECURE:?is not set: name the folder that python -m deploy.authority made}"
QFLOCK_SECURE=$(cd "$QFLOCK_SECURE" && pwd)
QFLOCK_STATE=$(mkdir -p "${QFLOCK_STATE:-state}" && cd "${QFLOCK_STATE:-state}" && pwd)
export QFLOCK_RUNS="${QFLOCK_RUNS:-$QFLOCK_STATE/runs}" FLWR_HOME="${FLWR_HOME:-$QFLOCK_STATE/flower}"
cd "$(dirname "$0")/.."
. deploy/flower.sh
exec flower-superlink --host "${QFLOCK_HOST:-0.0.0.0}" --port "${QFLOCK_PORT:-8000}" \
    --ssl-ca-certfile "$QFLOCK_SECURE/authority/ca.crt" --ssl-certfile "$QFLOCK_SECURE/tls/server.pem" \
    --ssl-keyfile "$QFLOCK_SECURE/tls/server.key" --enable-supernode-auth \
    --database "$QFLOCK_STATE/state.db" --disable-runtime-dependency-installation
