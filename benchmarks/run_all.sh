#!/usr/bin/env bash
# Everything that is measured, in one go, on an otherwise idle machine; on a GPU also the tests that need one.
#   benchmarks/run_all.sh [folder for the results, default benchmarks/results] [python] [part ...]
# Parts, all of them by default: tests (GPU) nms match_boxes roi_align detector memory convolutions coco_eval (both
# CPU) table.
# A part that fails does not keep the others from running; a table that was interrupted goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-benchmarks/results}
python=${2:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
parts=" ${*:3} "
kind=$("$python" -c 'import torch; print("gpu" if torch.cuda.is_available() else "cpu")')
device=$([ "$kind" = gpu ] && echo cuda || echo cpu)
failed=()

# part NAME COMMAND...: runs it where it is asked for.
part() {
    if [ "$parts" = "  " ] || [[ "$parts" == *" $1 "* ]]; then
        "${@:2}" || failed+=("$1")
    fi
}

table() {
    local folder size=() resume=()
    folder=$results/$(date -u +%F)_$device
    if [ "$kind" = cpu ]; then
        size=(--steps 2 --images 5 --batch-sizes 2) # a full run takes hours on a few cores
    fi
    if [ -e "$folder/results.json" ]; then
        resume=(--resume)
    fi
    "$python" tools/benchmark.py --device "$device" --peers torchvision "${size[@]}" "${resume[@]}" \
        --output-dir "$folder"
}

"$python" setup.py build_ext --inplace >/dev/null
export PYTHONPATH=$PWD
"$python" -m maskrcnn_benchmark.utils.collect_env
if [ "$kind" = gpu ]; then
    part tests "$python" -m pytest -q tests/gpu
fi
part nms "$python" benchmarks/nms.py --device "$device" --output "$results/nms_$kind"
part match_boxes "$python" benchmarks/match_boxes.py --device "$device" --output "$results/match_boxes_$kind"
part roi_align "$python" benchmarks/roi_align.py --device "$device" --output "$results/roi_align_$kind"
part detector "$python" benchmarks/detector.py --output "$results/detector_$kind"
part memory "$python" benchmarks/training_memory.py --device "$device" --output "$results"
if [ "$kind" = cpu ]; then
    part convolutions "$python" benchmarks/convolutions.py --output "$results/convolutions_cpu"
    part coco_eval "$python" benchmarks/coco_eval.py --output "$results/coco_eval_cpu"
fi
part table table
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
