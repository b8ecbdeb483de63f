#!/bin/sh
# The node of one client on this host, once its public key is registered with the SuperLink:
#   QFLOCK_SUPERLINK=fed.example.org:8000 QFLOCK_AUTHORITY=ca.crt QFLOCK_KEY=client-000 deploy/node.sh 0
# QFLOCK_STATE: where it keeps its memory; QFLOCK_DATA: its corpora; QFLOCK_NODE_PORT: its own door, on loopback;
# QFLOCK_NODE: the absolute path of its node.yaml.
set -eu
: "${1:?is missing: say which client this node is, such as 0}"
: "${QFLOCK_SUPERLINK:?is not set: write host:port}"
: "${QFLOCK_AUTHORITY:?is not set: name the file ca.crt of the SuperLink}"
: "${QFLOCK_KEY:?is not set: name the private key of this node}"
absolute() { (cd "$(dirname "$1")" && printf '%s/%s' "$(pwd)" "$(basename "$1")"); }
QFLOCK_AUTHORITY=$(absolute "$QFLOCK_AUTHORITY")
QFLOCK_KEY=$(absolute "$QFLOCK_KEY")
QFLOCK_STATE=$(mkdir -p "${QFLOCK_STATE:-state}" && cd "${QFLOCK_STATE:-state}" && pwd)
export QFLOCK_MEMORY="${QFLOCK_MEMORY:-$QFLOCK_STATE/memory}" FLWR_HOME="${FLWR_HOME:-$QFLOCK_STATE/flower-$1}"
cd "$(dirname "$0")/.."
. deploy/flower.sh
exec python -P server/supernode.py --superlink "$QFLOCK_SUPERLINK" --root-certificates "$QFLOCK_AUTHORITY" \
    --auth-supernode-private-key "$QFLOCK_KEY" --host 127.0.0.1 --port "${QFLOCK_NODE_PORT:-$((9100 + $1))}" \
    --node-config "partition-id=$1${QFLOCK_NODE:+ node=\"$QFLOCK_NODE\"}"
