#!/usr/bin/env bash
# What simedit does on a machine with one GPU, measured in ten minutes at most.
#   benchmarks/gpu.sh [--out FOLDER] [--minutes N] [--wheels FOLDER] [--tiny] [STEP ...]
# It says first what the machine has, then takes the steps below, those worth most first, each with a limit of
# its own. What a step finds is in FOLDER (runs/gpu) as soon as it is there: machine.txt, log.txt, results.jsonl and,
# made of it, tables.md. Run again, it leaves out what is done, and tries what failed last. It needs no network.
#   STEP       take these alone, from: tests edit-320 training twin edit-512 num-envs ray suite
#   --wheels   packages that the machine lacks, installed beside its own for this run
#   --tiny     the same way on the CPU and small, to try the script; its figures mean nothing
# PYTHON picks the interpreter: else .venv's, else python3. 5 GB of the temporary folder (TMPDIR) are kept for
# weights and compiled networks.
set -uo pipefail
cd "$(dirname "$0")/.."

known="tests edit-320 training twin edit-512 num-envs ray suite"
out=runs/gpu minutes=10 wheels="" tiny="" only=""
fail() { echo "gpu.sh: $1" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --out | --minutes | --wheels)
            [ $# -gt 1 ] || fail "$1 needs a value"
            declare "${1#--}=$2"
            shift ;;
        --tiny) tiny=1 ;;
        *) case " $known " in *" $1 "*) only+=" $1" ;; *) fail "unknown: $1; steps are $known, options --out, --minutes, --wheels, --tiny" ;; esac ;;
    esac
    shift
done
[[ $minutes =~ ^[0-9]+$ ]] && [ "$minutes" -gt 0 ] || fail "--minutes must be a whole number, 1 or more, not $minutes"

mkdir -p "$out" || fail "cannot write to $out"
out=$(cd "$out" && pwd) deadline=$((60 * minutes - 10))
results=$out/results.jsonl log=$out/log.txt scratch=${TMPDIR:-/tmp}/simedit-gpu
mkdir -p "$scratch"
exec 9>> "$scratch/lock" # whoever measures holds it
flock -n 9 || fail "another run is still at work on this machine, perhaps what a killed one left: wait for it"
touch "$results"
[ -z "$(tail -c 1 "$results")" ] || echo >> "$results" # a killed run left half a line

python=${PYTHON:-}
[ -n "$python" ] || { [ -x .venv/bin/python ] && python=$PWD/.venv/bin/python; } || python=python3
export TORCHINDUCTOR_CACHE_DIR=$scratch/inductor HF_HUB_OFFLINE=1 GOMP_SPINCOUNT=1000 SIMEDIT_ROWS=$results
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$scratch/site" "$wheels"/*.whl ||
        fail "cannot install what is in $wheels"
    export PYTHONPATH=$scratch/site${PYTHONPATH:+:$PYTHONPATH}
fi
if ! (cd / && "$python" -c 'import simedit.eval') 2> /dev/null; then
    # Not installed: its folders are found where pyproject.toml says that they are, and so is its version.
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    mkdir -p "$scratch/here/simedit-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: simedit\nVersion: %s\n' "$version" > "$scratch/here/simedit-$version.dist-info/METADATA"
    cat > "$scratch/here/sitecustomize.py" <<END
import importlib.util as util, sys

class Here:
    def find_spec(self, name, path=None, target=None):
        outer, _, folder = name.rpartition(".")
        if name != "simedit" and (outer != "simedit" or folder not in "policies envs eval lab configs".split()):
            return None
        where = "$PWD/" + folder
        return util.spec_from_file_location(name, where + "/__init__.py", submodule_search_locations=[where])

sys.meta_path.append(Here())
END
    export PYTHONPATH=$scratch/here${PYTHONPATH:+:$PYTHONPATH}
fi

# The driver's file for Vulkan: loaders look only where distributions put it, and containers often lack it.
if [ -z "${VK_DRIVER_FILES:-}" ] && ! ls /usr/share/vulkan/icd.d/nvidia* /etc/vulkan/icd.d/nvidia* > /dev/null 2>&1; then
    icd=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
    if [ ! -e $icd ] && ldconfig -p 2> /dev/null | grep -q libGLX_nvidia.so.0; then
        icd=$scratch/nvidia_icd.json
        echo '{"file_format_version": "1.0.0", "ICD": {"library_path": "libGLX_nvidia.so.0", "api_version": "1.3"}}' > "$icd"
    fi
    [ ! -e "$icd" ] || export VK_DRIVER_FILES=$icd
fi

look() {
    date -u +"%F %H:%M UTC, commit $(git rev-parse --short HEAD 2> /dev/null || echo unknown)"
    uname -srm
    (. /etc/os-release && echo "$PRETTY_NAME") 2> /dev/null
    echo "$(nproc) cores, $(free -h | awk '/^Mem/ { print $2 }') memory, $(df -h "$scratch" | awk 'END { print $4 }') of $scratch free"
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2> /dev/null || echo "no nvidia-smi"
    for each in python3 python3.{10..13} cc nvcc ffmpeg; do command -v "$each"; done
    echo "Vulkan drivers:" $(ls /usr/share/vulkan/icd.d/* /etc/vulkan/icd.d/* 2> /dev/null)
    echo "VK_DRIVER_FILES=${VK_DRIVER_FILES:-}"
    ldconfig -p 2> /dev/null | grep -E "libvulkan.so|libEGL.so|libGLX_nvidia.so" || echo "no libvulkan, libEGL or libGLX_nvidia"
    timeout 15 "$python" -m pip --timeout 3 --retries 0 --disable-pip-version-check download -q --no-deps -d "$scratch/pip" pip > /dev/null 2>&1 &&
        echo "pip reaches an index" || echo "pip reaches no index"
    "$python" - <<'END'
import importlib.metadata as meta, importlib.util as util, os, sys
print(sys.executable, sys.version.split()[0])
absent = []
for name, package in {
    **dict.fromkeys("torch diffusers transformers peft accelerate safetensors gymnasium numpy scipy".split()),
    "cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml",
    **dict.fromkeys("pydantic tyro rich matplotlib imageio imageio_ffmpeg websockets msgpack".split()),
    **dict.fromkeys("mani_skill sapien ruckig ray tensorflow openvino pytest xdist hypothesis sybil".split()),
}.items():
    if not util.find_spec(name):
        absent.append(name)
        continue
    try:
        print(name, meta.version(package or name), end="; ")
    except meta.PackageNotFoundError:
        print(name, "of no known version", end="; ")
print("\nabsent:", *absent)
if "torch" not in absent:
    import torch
    print("torch's CUDA:", torch.version.cuda, torch.cuda.is_available() and torch.cuda.get_device_name())
END
}
look 2>&1 | tee "$out/machine.txt"
absent=" $(sed -n 's/^absent: *//p' "$out/machine.txt") "
device=$(sed -n "s/^torch's CUDA: [^ ]* //p" "$out/machine.txt")
case ${device:-False} in
    False) [ -n "$tiny" ] || fail "torch finds no GPU on this machine; --tiny tries the script without"
        device=cpu ;;
esac
[ -z "$tiny" ] || device=cpu
renders="no renderer"
if [[ $absent != *" sapien "* ]]; then
    timeout 60 "$python" scripts/check_render.py > /dev/null 2>> "$log" && renders=yes
fi
echo "SAPIEN renders: $renders" | tee -a "$out/machine.txt"

status() { sed -n "s/^{\"step\": \"$1\", \"status\": \"\([^\"]*\)\".*/\1/p" "$results" | tail -n 1; }
record() { # step, status, more
    printf '{"step": "%s", "status": "%s"%s}\n' "$1" "$2" "${3:-}" >> "$results"
}
quoted() { printf '%s' "$1" | tr -d '\000-\037' | sed 's/  */ /g; s/^ //; s/[\\"]/\\&/g' | cut -c 1-400; }

again="" taken=" " child=""
step() { # name, its limit in seconds, the modules that it needs, the command
    local name=$1 limit=$2 needs=$3 before left code said each began=$SECONDS
    shift 3
    [ -z "$only" ] || [[ " $only " == *" $name "* ]] || return 0
    [[ $taken != *" $name "* ]] || return 0
    before=$(status "$name")
    # What was tried before comes after what was not.
    [ -n "$again" ] || [ -z "$before" ] || [ "$before" = done ] || return 0
    taken+="$name "
    [ "$before" != done ] || { echo "$name: skipped, done before"; return 0; }
    for each in $needs; do
        if [[ $absent == *" $each "* ]] || { [ "$each" = renderer ] && [ "$renders" != yes ]; }; then
            echo "$name: skipped, there is no $each"
            record "$name" skipped ", \"last\": \"no $each\""
            return 0
        fi
    done
    left=$((deadline - SECONDS))
    if [ "$left" -lt 20 ]; then
        echo "$name: skipped, no time is left: run again"
        return 0
    fi
    [ "$limit" -lt "$left" ] || limit=$left
    said=python
    for each in "${@:2}"; do
        [[ $each != *" "* ]] || each="'$each'"
        said+=" $each"
    done
    said=$(quoted "$said")
    record "$name" begun ", \"device\": \"$device\", \"command\": \"$said\""
    printf '\n===== %s: %s\n' "$name" "$said" >> "$log"
    echo "$name: at most $limit s ..."
    SIMEDIT_STEP=$name timeout -k 10 "$limit" "$@" > "$scratch/said.txt" 2>&1 &
    child=$!
    wait "$child"
    code=$? child=""
    cat "$scratch/said.txt" >> "$log"
    case $code in 0) each=done ;; 124 | 137) each="out of time" ;; *) each="failed ($code)" ;; esac
    said=$(grep -v '^[[:space:]]*$' "$scratch/said.txt" | tail -n 1)
    record "$name" "$each" ", \"seconds\": $((SECONDS - began)), \"last\": \"$(quoted "$said")\""
    echo "$name: $each after $((SECONDS - began)) s: $said"
}

finish() {
    "$python" benchmarks/rows.py "$results" | tee "$out/tables.md"
    echo "all of it: $out"
}
stopped() {
    [ -z "$child" ] || { kill "$child" 2> /dev/null; wait "$child"; }
    echo "stopped; run again to go on"
    finish
    exit 130
}
trap stopped INT TERM

core="torch diffusers transformers peft pydantic rich cv2"
scene="gymnasium mani_skill sapien ruckig renderer"
tests=(tests/test_on_device.py tests/test_scores_{encoders,structural,grounded_sam2}.py tests/test_training_{ending,trainer}.py)
pytest=("$python" -m pytest -q -p no:cacheprovider --confcutdir tests --continue-on-collection-errors)
edit=("$python" benchmarks/edit.py)
steps() {
    step tests 100 "$core pytest gymnasium tyro" "${pytest[@]}" -m gpu "${tests[@]}"
    step edit-320 220 "$core" "${edit[@]}" "${full[@]}" --width 320 --height 256 --steps 20 --distilled 1 \
        --skip "plain loop" "library, compiled, 8" "distilled 1, compiled, "{1,8}
    step training 180 "$core tyro accelerate matplotlib" "$python" benchmarks/training_step.py \
        --base "$scratch/base" --set samples=4
    step twin 80 "$scene" "$python" benchmarks/control_step.py twin --steps 20 --envs 1 4 16
    step edit-512 120 "$core" "${edit[@]}" "${full[@]}" --width 512 --height 512 --steps 100 --frames 4 --repeat 1 \
        --skip "plain loop" "diffusers, compiled" "library, compiled, "{1,4}
    step num-envs 150 "$core $scene" "$python" benchmarks/rollout.py --num-envs 1 8 --kinds processes --trials 16 \
        --set max_steps=5
    step ray 150 "$core $scene ray" "$python" benchmarks/rollout.py --num-envs 1 8 --kinds ray --trials 16 \
        --set max_steps=5
    step suite 400 "$core pytest gymnasium xdist hypothesis tyro" "${pytest[@]}" -n auto --dist loadfile -m "not slow" tests
}
small() {
    step tests 200 "$core pytest gymnasium" "${pytest[@]}" tests/test_on_device.py -k "fake_gpu or stay"
    step edit-320 200 "$core" "${edit[@]}" --library lab --width 160 --height 128 --steps 2 --frames 2 --repeat 1 \
        --distilled 1 --skip "${slow[@]}"
    step training 200 "$core tyro accelerate matplotlib" "$python" benchmarks/training_step.py --size tiny
    step twin 200 "$scene" "$python" benchmarks/control_step.py twin --steps 3 --envs 1 2
    step edit-512 200 "$core" "${edit[@]}" --library lab --width 160 --height 128 --steps 4 --frames 2 --repeat 1 \
        --skip "${slow[@]}"
    step num-envs 200 "$core $scene" "$python" benchmarks/rollout.py --num-envs 1 2 --kinds here processes \
        --trials 8 --set max_steps=3 suite.width=64 suite.height=64
    step ray 200 "$core $scene ray" "$python" benchmarks/rollout.py --num-envs 1 2 --kinds ray --trials 8 \
        --set max_steps=3 suite.width=64 suite.height=64
    step suite 200 "$core pytest" "${pytest[@]}" tests/test_samplers.py
}
slow=("diffusers, compiled" "plain loop" {library,"distilled 1"}", compiled, "{1,2})
full=(--base "$scratch/base" --device cuda --dtype bfloat16)
for again in "" 1; do
    if [ -n "$tiny" ]; then small; else steps; fi
done
finish
