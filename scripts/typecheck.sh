#!/usr/bin/env bash
# pyright resolves imports from files, so it is shown the folders as the one package they install as.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/one_package.sh
exec .venv/bin/pyright --project pyproject.toml "$@"
