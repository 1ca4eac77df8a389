#!/usr/bin/env bash
# For tools that read files and import nothing: the folders as the one package they install as, in build/typecheck.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf build/typecheck
mkdir -p build/typecheck
cp -rs "$PWD/simedit" build/typecheck/simedit
for folder in policies envs eval lab; do cp -rs "$PWD/$folder" build/typecheck/simedit/; done
