#!/usr/bin/env bash
# A study on one machine: one run for each GPU, or for each core where there are no GPUs. Call it
# again at any time: it does what is missing.
#
#   scripts/one_node.sh quickstart [more settings]
set -euo pipefail
study=${1:?name a study, for example quickstart}

exec leadline ablate "$study" hydra/launcher=local "${@:2}"
