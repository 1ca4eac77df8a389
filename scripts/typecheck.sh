#!/usr/bin/env bash
# pyright resolves imports from files, so it is shown the six folders as the one package they install as.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf build/typecheck
mkdir -p build/typecheck
cp -rs "$PWD/simedit" build/typecheck/simedit
for folder in policies envs eval lab configs; do cp -rs "$PWD/$folder" build/typecheck/simedit/; done
exec .venv/bin/pyright --project pyproject.toml "$@"
