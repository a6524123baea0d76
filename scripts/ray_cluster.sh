#!/usr/bin/env bash
# A study on a Ray cluster of several machines, over ssh. They share a file system with leadline[ray]
# and with the home folder, where Ray keeps the token of the cluster. Call it on the first of them.
#
#   scripts/ray_cluster.sh table2_scbert "node2 node3" [more settings]
set -euo pipefail
study=${1:?name a study}
others=${2?name the other machines, or give ""}
here=$(hostname -I | awk '{print $1}')
bin=$(dirname "$(command -v leadline)")

# `ray stop` ends whatever runs of Ray for this user on a machine.
trap 'for host in $others; do ssh "$host" "$bin/ray stop"; done; "$bin/ray" stop' EXIT
"$bin/ray" start --head --node-ip-address="$here" --port=6379
for host in $others; do
  ssh "$host" "$bin/ray start --address=$here:6379"
done
"$bin/leadline" ablate "$study" hydra/launcher=ray hydra.launcher.address="$here:6379" \
  hydra.launcher.gpus=1 hydra.launcher.cpus=4 runs_dir="$PWD/runs" "${@:3}"
