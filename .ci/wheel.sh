#!/usr/bin/env bash
# The package as a stranger gets it: an sdist, the wheel built from that sdist, the wheel in an empty environment
# outside the checkout, one detection. Only the CPU's kernels are compiled, which is quick and enough for that.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout=$PWD
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
unset PYTHONPATH

MASKRCNN_BENCHMARK_BUILD=cpu .venv/bin/python -m build --no-isolation --outdir "$outside/dist" . > "$outside/build.log" 2>&1 ||
    { tail -n 40 "$outside/build.log"; exit 1; }
ls -l "$outside/dist"

# PyTorch (gigabytes) is linked from the checkout's environment; pip finds it there and installs all the rest.
.venv/bin/python -m venv "$outside/env"
site() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))'; }
shopt -s nullglob
for package in "$(site .venv)"/{functorch,torch,torch-*,torchgen,torchvision*,nvidia*,cuda*,triton*}; do
    if [ -e "$package" ]; then ln -s "$(realpath "$package")" "$(site "$outside/env")/"; fi
done
"$outside/env/bin/python" -m pip install --quiet --constraint constraints.txt "$outside"/dist/*.whl
"$outside/env/bin/python" -m pip check

mkdir "$outside/empty"
cd "$outside/empty"
"$outside/env/bin/maskrcnn-benchmark" --version
"$outside/env/bin/maskrcnn-benchmark" models list "V-39-*"
"$outside/env/bin/python" "$checkout/.ci/detect.py"
