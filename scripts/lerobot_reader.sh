#!/usr/bin/env bash
# Let LeRobot's own reader read datasets that were written and edited here (tests/test_lerobot_reader.py). It
# wants other packages than simedit does: they go into .venv-reader, which takes the rest from .venv.
# Needs .venv (scripts/setup.sh dev); with .venv-reader there, it needs no network.
#   scripts/lerobot_reader.sh [arguments for pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

site() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

want="$(cat "$0" .venv/pyvenv.cfg | sha256sum | cut -d' ' -f1)"
if [ "$(cat .venv-reader/simedit-stamp 2>/dev/null)" != "$want" ]; then
    echo "Setting up .venv-reader ..."
    .venv/bin/python -m venv --clear --without-pip .venv-reader
    theirs="$(site "$PWD/.venv-reader/bin/python")"
    # addsitedir also reads the .pth files that it finds there. What is installed below comes first.
    echo "import site; site.addsitedir('$(site "$PWD/.venv/bin/python")')" > "$theirs/rest.pth"
    # torchvision 0.(N + 15) goes with torch 2.N. Of torchcodec from PyPI 0.11.1 is the last that needs no CUDA.
    torch="$(.venv/bin/python -c 'import torch; print(torch.__version__.split(".")[1])')"
    .venv/bin/python -m pip --python .venv-reader/bin/python install --quiet --disable-pip-version-check --no-deps \
        lerobot-dataset==0.4.4 av==15.1.0 datasets==4.1.1 huggingface-hub==0.35.3 fsspec==2025.9.0 packaging==25.0 \
        dill==0.4.0 multiprocess==0.70.16 xxhash pandas python-dateutil six jsonlines attrs termcolor deepdiff==8.6.1 \
        orderly-set==5.5.0 torchcodec==0.11.1 "torchvision==0.$((torch + 15)).*"
    # torchcodec looks for FFmpeg's libraries by their plain names; PyAV brings them under names of its own.
    mkdir .venv-reader/ffmpeg
    for library in "$theirs"/av.libs/lib{av,sw}*; do
        ln -s "$library" ".venv-reader/ffmpeg/$(basename "$library" | sed -E 's/-[0-9a-f]+(\.so\.[0-9]+).*/\1/')"
    done
    printf '#!/bin/sh\nHF_HUB_OFFLINE=1 LD_LIBRARY_PATH="%s" exec "%s" "$@"\n' \
        "$PWD/.venv-reader/ffmpeg:$theirs/av.libs" "$PWD/.venv-reader/bin/python" > .venv-reader/bin/reader
    chmod +x .venv-reader/bin/reader
    echo "$want" > .venv-reader/simedit-stamp
fi

LEROBOT_READER="$PWD/.venv-reader/bin/reader" exec .venv/bin/python -m pytest tests/test_lerobot_reader.py "$@"
