#!/usr/bin/env bash
# Build .venv at the repository root with the given extras, and see to a Vulkan driver that SAPIEN 3 can
# render on. Running it again costs nothing and needs no network.
#   scripts/setup.sh sim,cpu            what `make demo` needs
#   scripts/setup.sh sim,cpu,rt1,ray,dev  what `make test` needs
# PYTHON picks the interpreter (3.10 to 3.12: ManiSkill needs mplib, which has no build for 3.13), TORCH the torch requirement ("torch" for the default build).
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:-sim}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || {
    echo "The simulator needs Python 3.10 to 3.12; found: $("$python" --version 2>&1 || echo none). Set PYTHON=/path/to/python3.11" >&2
    exit 1
}

stamp=.venv/simedit-extras
want="$(cat pyproject.toml requirements-cpu.txt | sha256sum | cut -d' ' -f1)"
installed() {
    [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(head -n1 "$stamp")" = "$want" ] || return 1
    local extra
    for extra in ${extras//,/ }; do grep -qx "$extra" <(tail -n +2 "$stamp") || return 1; done
}

if ! installed; then
    echo "Setting up .venv ($extras) ..."
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
    # torch comes first: left to the dependency resolver, a machine without a GPU would get the CUDA build.
    if .venv/bin/python -c 'import torch' 2>/dev/null; then
        :
    elif [ -n "${TORCH:-}" ]; then
        "${pip[@]}" "$TORCH"
    elif nvidia-smi -L >/dev/null 2>&1 || [ "$(uname -s)" != Linux ]; then
        "${pip[@]}" torch
    else
        "${pip[@]}" --quiet --retries 1 -r requirements-cpu.txt
    fi
    "${pip[@]}" -e ".[$extras]"
    kept=$(tail -n +2 "$stamp" 2>/dev/null || true)
    { echo "$want"; printf '%s\n' $kept ${extras//,/ } | sort -u; } > "$stamp.new"
    mv "$stamp.new" "$stamp"
fi

# Without a working Vulkan driver sapien can crash instead of raising: ask it in a process of its own, and only
# until it has rendered once, for compiling the shaders takes a while.
can_render() {
    [ -f .venv/simedit-renders ] ||
        { .venv/bin/python scripts/check_render.py >/dev/null 2>&1 && touch .venv/simedit-renders; }
}

backports() {
    # Debian 12 carries Mesa 22.3; its backports 25.0. The mirror is the one this machine uses already.
    . /etc/os-release
    [ "${VERSION_CODENAME:-}" = bookworm ] || return 0
    local mirror
    mirror=$(grep -hoE '^(URIs:|deb) *[^ ]*://[^ ]*/debian/? *' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        grep -oE '[a-z]+://[^ ]*' | head -n1)
    [ -n "$mirror" ] || { echo "no Debian mirror found in /etc/apt" >&2; return 1; }
    grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d ||
        echo "deb $mirror bookworm-backports main" > /etc/apt/sources.list.d/simedit-backports.list
    echo "-t bookworm-backports"
}

case ",$extras," in *,sim,*)
    if ! can_render && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Mesa's software Vulkan driver ..."
        release=$(backports)
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $release \
            mesa-vulkan-drivers libvulkan1 >/dev/null
    fi
    if ! can_render; then
        .venv/bin/python scripts/check_render.py || true
        cat >&2 <<'END'
SAPIEN 3 found no Vulkan driver that it can render on. It needs one of:
  - an NVIDIA driver with Vulkan support, or
  - Mesa's software driver (lavapipe), version 25.0 or newer. As root:
      Debian 12:         add bookworm-backports to the apt sources, then
                         apt-get update && apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1
      Debian 13, Ubuntu 24.04 or newer:
                         apt-get install mesa-vulkan-drivers libvulkan1
    Without root: ask an administrator for these packages, or work in a container (Apptainer, Docker) that
    has them. Another driver's location can be given in VK_DRIVER_FILES.
Then run the same command again.
END
        exit 1
    fi
esac
