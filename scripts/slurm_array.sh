#!/usr/bin/env bash
# A study as SLURM arrays: one GPU for each run, at most 32 at once. Call it on a login node, from
# the folder that shall hold runs/. Call it again at any time: it does what is missing.
#
#   scripts/slurm_array.sh table2_scbert PARTITION [more settings]
set -euo pipefail
study=${1:?name a study, for example table2_scbert}
partition=${2:?name a partition; sinfo lists them}

python -c 'import submitit' 2>/dev/null || pip install --quiet "leadline[slurm]"
exec leadline ablate "$study" hydra/launcher=submitit_slurm \
  hydra.launcher.partition="$partition" \
  hydra.launcher.gpus=1 hydra.launcher.cpus=8 hydra.launcher.memory_gb=48 \
  hydra.launcher.timeout=720 hydra.launcher.array_parallelism=32 \
  runs_dir="$PWD/runs" "${@:3}"
