#!/usr/bin/env bash
# Pass the tests that need no ManiSkill 3 with the packages of the original SimplerEnv:
# gymnasium 0.29, numpy 1.26 and SAPIEN 2.2.2. They go into .venv-old, which takes the rest from .venv.
# Needs .venv (scripts/setup.sh sim,cpu,rt1,ray,dev); with .venv-old there, it needs no network.
#   scripts/old_stack.sh [arguments for pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

site() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

want="$(cat "$0" .venv/pyvenv.cfg | sha256sum | cut -d' ' -f1)"
if [ "$(cat .venv-old/simedit-stamp 2>/dev/null)" != "$want" ]; then
    echo "Setting up .venv-old ..."
    .venv/bin/python -m venv --clear --without-pip .venv-old
    # addsitedir also reads the .pth files that it finds there, and with them simedit's own. ManiSkill 3, which
    # cannot run beside SAPIEN 2, is hidden.
    rest="import site, sys; sys.modules.update(mani_skill=None)"
    echo "$rest; site.addsitedir('$(site "$PWD/.venv/bin/python")')" > "$(site "$PWD/.venv-old/bin/python")/rest.pth"
    # opencv-python, ml_dtypes and pyarrow as pip takes them with numpy below 2. SAPIEN 2.2.2 ends with Python 3.11.
    .venv/bin/python -m pip --python .venv-old/bin/python install --quiet --disable-pip-version-check --no-deps \
        numpy==1.26.4 gymnasium==0.29.1 opencv-python==4.11.0.86 ml_dtypes==0.5.4 pyarrow==17.0.0 \
        "sapien==2.2.2; python_version < '3.12'"
    echo "$want" > .venv-old/simedit-stamp
fi

.venv-old/bin/python - <<'END'
import sys
from importlib.metadata import version

import cv2, gymnasium, numpy

found = {"gymnasium": gymnasium.__version__, "numpy": numpy.__version__, "opencv": cv2.__version__}
if sys.version_info < (3, 12):
    found["sapien"] = version("sapien")
print(", ".join(f"{name} {release}" for name, release in found.items()))
old = {"gymnasium": "0.29.1", "numpy": "1.26.4", "opencv": "4.11.0", "sapien": "2.2.2"}
assert found == {name: old[name] for name in found}, found
END

# Whole trainings take minutes, and meet none of these packages more than their parts do, which are tested here.
exec .venv-old/bin/python -m pytest --numprocesses auto --dist loadfile -m "not slow" --ignore=tests/test_training_cli.py \
    --ignore=tests/test_training_trainer.py --ignore=tests/test_training_footprint.py \
    --ignore=tests/test_training_estimate.py "$@"
