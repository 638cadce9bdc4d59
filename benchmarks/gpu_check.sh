#!/usr/bin/env bash
# Run every check that needs a GPU, in at most 8 minutes on one card; print one table and write the numbers as JSON.
#
#     benchmarks/gpu_check.sh                 # exit status 1 where a check fails, 2 without a GPU
#     DEVICE=cpu benchmarks/gpu_check.sh      # tries the script itself, with less of everything
#
# BUDGET (seconds), OUTPUT (file of the numbers) and PYTHON (interpreter) may be set as well. The package need not be
# installed: without it, the folders of this checkout are imported.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
device=${DEVICE:-cuda} python=${PYTHON:-python}
if [ "$device" != cpu ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu_check: got no GPU that torch can use, expected one; nothing was checked (DEVICE=cpu tries the script)" >&2
    exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! (cd "$work" && "$python" -c 'import storyattn.training') 2> "$work/import.log"; then
    mkdir "$work/storyattn"
    ln -s "$root"/modeling/*.py "$root/training" "$root/configuration" "$work/storyattn"
    export PYTHONPATH="$work${PYTHONPATH:+:$PYTHONPATH}"
fi
if [ "$device" = cpu ]; then
    export CUDA_VISIBLE_DEVICES="" ACCELERATE_USE_CPU=true
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$python" "$root/benchmarks/gpu_check.py" --device "$device" --work "$work" \
    --budget "${BUDGET:-480}" --output "${OUTPUT:-gpu_check.json}"
