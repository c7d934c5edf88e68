#!/usr/bin/env bash
# Everything that is measured, in one go, on an otherwise idle machine; on a GPU also the tests that need one.
#   benchmarks/run_all.sh [folder for the results, default benchmarks/results] [python]
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-benchmarks/results}
python=${2:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
kind=$("$python" -c 'import torch; print("gpu" if torch.cuda.is_available() else "cpu")')

"$python" setup.py build_ext --inplace >/dev/null
export PYTHONPATH=$PWD
"$python" -m maskrcnn_benchmark.utils.collect_env
if [ "$kind" = gpu ]; then
    "$python" -m pytest -q tests/gpu || echo "tests/gpu failed: the numbers below are of kernels that are not right"
fi
device=$([ "$kind" = gpu ] && echo cuda || echo cpu)
"$python" benchmarks/nms.py --device "$device" --output "$results/nms_$kind"
"$python" benchmarks/roi_align.py --device "$device" --output "$results/roi_align_$kind"
"$python" benchmarks/detector.py --output "$results/detector_$kind"
"$python" benchmarks/training_memory.py --device "$device" --output "$results"
size=()
if [ "$kind" = cpu ]; then
    "$python" benchmarks/convolutions.py --output "$results/convolutions_cpu"
    "$python" benchmarks/coco_eval.py --output "$results/coco_eval_cpu"
    size=(--steps 2 --images 5 --batch-sizes 2) # a full run takes hours on a few cores
fi
"$python" tools/benchmark.py --device "$device" --peers torchvision "${size[@]}" \
    --output-dir "$results/$(date -u +%F)_$device"
