#!/bin/bash
# One study on many machines: each task of a Slurm array plays a shard of it, then one job puts them together.
#
#   sbatch --array=1-16 examples/slurm_array.sh study.yaml /shared/runs/study 16
#   sbatch --dependency=afterok:JOB examples/slurm_array.sh study.yaml /shared/runs/study merge
#
# A task that was ended, by its time limit or a dead node, goes on: submit it again, such as --array=3,7.
#SBATCH --job-name=simedit
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=24G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A_%a.log
set -euo pipefail

# The number of shards is said, for Slurm's own count is another when some tasks are submitted again.
study=$1 out=$2 shards=$3

if [[ $shards == merge ]]; then
    exec simedit-eval merge "$out" "$out"-shards/*/
fi

shard=$SLURM_ARRAY_TASK_ID
# exec: what Slurm sends at the time limit reaches the run itself. Each shard has a folder of its own.
exec simedit-eval run --config "$study" --shard "$shard/$shards" --out "$out-shards/$shard-of-$shards"
