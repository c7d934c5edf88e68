#!/usr/bin/env bash
# Layers, modeling and replays as processors with fewer instructions compute them. PyTorch and oneDNN are told to
# leave out what the variables exclude. Left out are slow tests whose result no instruction can change.
set -euo pipefail
cd "$(dirname "$0")/.."
independent="compiles_without or nothing_waits or weight_fill or every_name_builds or without_library"

cut_down() {
    echo "== $*"
    env "$@" .venv/bin/python -m pytest -q -k "not ($independent)" tests/layers tests/modeling tests/golden
}

# without AVX-512; on a processor that has none it is what `make test` ran
if .venv/bin/python -c 'import sys, torch; sys.exit("AVX512" not in torch.backends.cpu.get_cpu_capability())'; then
    cut_down ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
fi
# without AVX2
cut_down ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41
