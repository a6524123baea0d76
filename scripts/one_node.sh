#!/usr/bin/env bash
# A study on one machine: one run for each GPU, or for each core where there are no GPUs. Call it
# again at any time: it does what is missing.
#
#   scripts/one_node.sh quickstart [more settings]
set -euo pipefail
study=${1:?name a study, for example quickstart}

if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus | grep -q GPU; then
  share=(hydra.launcher.gpus=1)
else
  share=(hydra.launcher.n_jobs=-1)
fi
exec leadline ablate "$study" hydra/launcher=local "${share[@]}" "${@:2}"
