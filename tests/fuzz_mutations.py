"""Damage done to good files: to their bytes, to what they say, and to the folder they lie in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

NASTY: tuple[Any, ...] = (
    *(0, -1, 1, 2, 7, 1000, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400),
    *(0.5, -0.5, 1e-320, 1e30, 1e308, float("nan"), float("inf"), -float("inf")),
    *(True, False, None, [], {}, [[]], [None], {"a": 1}, {"": ""}, [0] * 3, ["gold"] * 3, [1e9] * 5),
    *("", " ", "a", "gold", "raw", "nan", "1e9", "0x10", "true", "null", "../../x", "/etc/passwd", ".", "-"),
    *("\0", "\x1b[31m", "\ud800", "\U0001f600", "\u202egold", "Ä" * 60, "a\nb", "<script>"),
    *(r"$\foo$", "{style}"),
    *("n" * 300, "n" * 70_000, "cat_" * 40, "evil.Evil", "float64", "torch.float32", "cuda:7", "%s%n{0}"),
)  # fmt: skip
"""Values of all types, of which some are wrong wherever they stand."""

YAML_BITS = (
    *("0x_", "!!float x", "!!int x", "!!bool x", "!!timestamp x", "!!binary x", "2026-13-45", "9" * 4400),
    *("&a [*a]", "*a", "<<: {a: 1}", "? [1]\n: 2", "!!python/object:os.x {}", "!!set {a}", "1:30:45", "010"),
    *("\t", "---\n", "...\n", "%YAML 9.9\n", "- ", "{", "]", "'", '"\\ud800"', "|+\n", "\0", "\ufeff"),
    *("[" * 500, "0x" + "f" * 5000),
    *(".nan", "-.inf", "yes", "~", "=", "!!omap [a: 1]", "&b b", "# ", "\r", "\x85", "a: b: c"),
)  # fmt: skip


def mutate(files: Sequence[Path], random: Random) -> list[str]:
    """Damage one to three of the files, in place, and tell how."""
    told = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        file = random.choice(files)
        if not file.is_file():
            continue
        told.append(f"{file.name}: {_damage(file, random)}")
    return told


def _damage(file: Path, random: Random) -> str:
    chance = random.random()
    if chance < 0.05:
        return _replace(file, random)
    known = STRUCTURE.get(file.suffix)
    if known is not None and chance < 0.7:
        with contextlib.suppress(Exception):  # an earlier damage has left no structure
            return known(file, random)
    content, told = _bytes(file.read_bytes(), random)
    file.write_bytes(content)
    return told


def _replace(file: Path, random: Random) -> str:
    way = random.choice(
        ("gone", "empty", "folder", "broken link", "link to itself", "large", "neighbour", "spaces")
    )
    others = [other for other in file.parent.iterdir() if other.is_file()]
    content = random.choice(others).read_bytes()
    size = file.stat().st_size
    file.unlink()
    if way == "empty":
        file.touch()
    elif way == "folder":
        file.mkdir()
    elif way == "broken link":
        file.symlink_to("nowhere")
    elif way == "link to itself":
        file.symlink_to(file.name)
    elif way == "large":  # of zeros, and sparse
        file.touch()
        os.truncate(file, size + (1 << 20))
    elif way == "neighbour":
        file.write_bytes(content)
    elif way == "spaces":
        file.write_bytes(b" \n" * 100)
    return way


def _bytes(content: bytes, random: Random) -> tuple[bytes, str]:
    way = random.choice(
        ("flip", "flip", "cut", "insert", "delete", "repeat", "zero", "encode", "append", "number")
    )
    data = bytearray(content)
    at = random.randrange(len(data) + 1)
    size = random.choice((1, 1, 2, 4, 16, 256, 4096))
    if random.random() < 0.3:  # headers matter most
        at = min(at, random.randrange(200))
    if way == "flip":
        for _ in range(random.choice((1, 1, 2, 8, 64))):
            if data:
                data[min(random.randrange(len(data)), at + random.randrange(64))] ^= 1 << random.randrange(8)
    elif way == "cut":
        del data[at:]
    elif way == "insert":
        data[at:at] = _noise(size, random)
    elif way == "delete":
        del data[at : at + size]
    elif way == "repeat":
        data[at:at] = data[at : at + size] * random.choice((1, 2, 50))
    elif way == "zero":
        data[at : at + size] = bytes(min(size, len(data) - at))
    elif way == "encode":
        with contextlib.suppress(UnicodeError):
            return content.decode().encode(random.choice(("utf-16", "utf-8-sig", "utf-32", "cp037"))), way
    elif way == "append":
        data += _noise(size, random)
    else:  # a length or an offset in the header
        value = random.choice((0, 1, 2**16, 2**31 - 1, 2**31, 2**63 - 1, 2**64 - 1))
        data[at : at + 8] = struct.pack(random.choice("<>") + "Q", value)
    return bytes(data), f"{way} at {at}"


def _noise(size: int, random: Random) -> bytes:
    return random.getrandbits(8 * size).to_bytes(size, "little")


def mutate_value(value: Any, random: Random) -> tuple[Any, str]:
    """A JSON-like value of which one place at any depth is changed, and how."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            places.append((node, key))
            walk(node[key])

    value = json.loads(json.dumps(value, default=str))
    walk(value)
    if not places:
        return random.choice(NASTY), "all"
    node, key = random.choice(places)
    way = random.choice(
        ("value", "value", "value", "gone", "key", "wrap", "deep", "swap", "text", "many", "scale")
    )
    if way == "value":
        node[key] = random.choice(NASTY)
    elif way == "gone":
        del node[key]
    elif way == "key" and isinstance(node, dict):
        node[str(random.choice([n for n in NASTY if isinstance(n, str)]))] = node.pop(key)
    elif way == "wrap":
        node[key] = random.choice(([node[key]], {"a": node[key]}, [node[key]] * 2))
    elif way == "deep":
        for _ in range(random.choice((10, 100, 900))):
            node[key] = [node[key]]
    elif way == "swap":
        other, place = random.choice(places)
        node[key] = (
            json.loads(json.dumps(other[place]))
            if place in (other if isinstance(other, dict) else range(len(other)))
            else None
        )
    elif way == "text":
        node[key] = str(node[key]) + random.choice(("", " ", "x", "\0", "\U0001f600"))
    elif way == "many":
        node[key] = [node[key]] * random.choice((0, 3, 1000))
    elif isinstance(node[key], int | float):
        node[key] = node[key] * random.choice((-1, 0, 0.5, 2, 1e3, 1e9, 1e300))
    return value, f"{way} at {str(key)[:40]}"


def _json(file: Path, random: Random) -> str:
    text = file.read_text(encoding="utf-8")
    if "\n" in text.strip() and file.suffix == ".jsonl":
        lines = text.splitlines()
        at = random.randrange(len(lines))
        value, told = mutate_value(json.loads(lines[at]), random)
        lines[at] = json.dumps(value)
        text = "\n".join(lines) + "\n"
    else:
        value, told = mutate_value(json.loads(text), random)
        text = json.dumps(value)
        if random.random() < 0.1 and text.startswith("{"):
            return _write(file, text[:-1] + "," + text[1:], "each key twice")
    return _write(file, text, told)


def _yaml(file: Path, random: Random) -> str:
    text = file.read_text(encoding="utf-8")
    if random.random() < 0.5:
        value, told = mutate_value(yaml.safe_load(text), random)
        return _write(file, yaml.safe_dump(value, sort_keys=False, allow_unicode=random.random() < 0.5), told)
    marks = [i for i, c in enumerate(text) if c in " :[{,\n"] or [0]
    at, bit = random.choice(marks) + 1, random.choice(YAML_BITS)
    if random.random() < 0.5:  # in place of a value
        end = min((i for i in (text.find(c, at) for c in ",]}\n") if i >= 0), default=at)
        return _write(file, f"{text[:at]} {bit}{text[end:]}", f"{bit[:20]!r} at {at}")
    lines = text.splitlines(keepends=True)
    line = random.randrange(len(lines))
    if random.random() < 0.3:
        lines.insert(random.randrange(len(lines)), lines[line])
        return _write(file, "".join(lines), f"line {line} twice")
    return _write(file, text[:at] + bit + text[at:], f"{bit[:20]!r} at {at}")


def _write(file: Path, text: str, told: str) -> str:
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return told


def _safetensors(file: Path, random: Random) -> str:
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])
    names = [name for name in header if name != "__metadata__"]
    name, other = random.choice(names), random.choice(names)
    tensor = header[name]
    way = random.choice(("header", "numbers", "numbers", "rename", "gone", "dtype", "shape", "swap", "more"))
    if way == "header":
        header, told = mutate_value(header, random)
        way = f"header: {told}"
    elif way == "numbers":
        kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
        begin, end = tensor["data_offsets"]
        values = np.frombuffer(bytes(data[begin:end]), kinds[tensor["dtype"]]).copy()
        bad = random.choice((0, -1, 1e4, 6e4, 3e38, float("nan"), float("inf"), -float("inf")))
        with np.errstate(all="ignore"):
            where = slice(None) if random.random() < 0.3 else random.randrange(len(values))
            values[where] = np.array(bad).astype(values.dtype)
        data[begin:end] = values.tobytes()
        way = f"{name} is {bad}"
    elif way == "rename":
        header[random.choice((name + "x", "unet." + name, "", "x", "0.", "9" * 30 + ".exp_avg"))] = (
            header.pop(name)
        )
    elif way == "gone":
        begin, end = header.pop(name)["data_offsets"]
        del data[begin:end]
        for one in header.values():
            if isinstance(one, dict) and "data_offsets" in one and one["data_offsets"][0] >= end:
                one["data_offsets"] = [place - (end - begin) for place in one["data_offsets"]]
    elif way == "dtype":
        tensor["dtype"] = random.choice(("F16", "BF16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "X"))
    elif way == "shape":
        shape = tensor["shape"]
        tensor["shape"] = random.choice(
            (shape[::-1], [*shape, 1], [1, *shape], shape[1:], [-1], [0], [2**62, 4])
        )
    elif way == "swap":
        header[name], header[other] = header[other], header[name]
    else:
        header["more"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        data += bytes(4)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return way


def _sqlite(file: Path, random: Random) -> str:
    database = sqlite3.connect(file)
    with contextlib.closing(database):
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = random.choice(tables)
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        column = random.choice(columns)
        way = random.choice(
            ("cell", "cell", "json", "json", "drop", "rename", "column", "table", "rows", "check")
        )
        database.execute("PRAGMA ignore_check_constraints=ON")
        if way == "json":
            table, (key, text) = (
                "meta",
                random.choice(database.execute("SELECT key, value FROM meta").fetchall()),
            )
            value, told = mutate_value(json.loads(text), random)
            database.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(value), key))
            way = f"json {key}: {told}"
        elif way == "cell":
            value = random.choice(NASTY)
            value = (
                value if isinstance(value, str | float | None) else str(value)[:30] if value == value else 0
            )
            if random.random() < 0.2:
                value = b"\xff\xfe\x00"
            database.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
            way = f"{table}.{column}"
        elif way == "drop":
            database.execute(f"DROP TABLE {table}")
        elif way == "rename":
            database.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
        elif way == "column":
            database.execute(f"ALTER TABLE {table} ADD COLUMN other")
        elif way == "table":
            database.execute(f"ALTER TABLE {table} RENAME TO other")
        elif way == "rows":
            database.execute(f"DELETE FROM {table}")
        else:
            database.execute("UPDATE results SET outcome = ?", (random.choice(("<b>", "", "successful")),))
        database.commit()
    return way


def _png(file: Path, random: Random) -> str:
    content = bytearray(file.read_bytes())
    if not content.startswith(b"\x89PNG"):
        raise ValueError
    width, height = (random.choice((0, 1, 2, 60_000, 2**31 - 1)) for _ in range(2))
    content[16:26] = struct.pack(
        ">IIBB", width, height, random.choice((1, 8, 16)), random.choice((0, 2, 3, 4, 6))
    )
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)
    return f"{width}x{height}"


def _npz(file: Path, random: Random) -> str:
    with np.load(file) as arrays:
        content: dict[str, Any] = dict(arrays)
    name = random.choice(list(content))
    bad: tuple[Any, ...] = (
        *(np.zeros(3), np.float32(1), np.array(["x"] * 3), np.array([None], object), np.zeros((0, 4))),
        *(content[name].astype(complex), content[name] * np.nan, content[name][None], content[name].T.copy()),
    )
    way = random.randrange(len(bad) + 1)
    if way == len(bad):
        del content[name]
    else:
        content[name] = bad[way]
    np.savez(file, **content)
    return f"{name} in way {way}"


STRUCTURE: dict[str, Callable[[Path, Random], str]] = {
    ".json": _json,
    ".jsonl": _json,
    ".yaml": _yaml,
    ".safetensors": _safetensors,
    ".sqlite": _sqlite,
    ".png": _png,
    ".npz": _npz,
}


def copied(template: Path, folder: Path) -> Path:
    """A fresh copy of a template."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(template, folder, symlinks=True))
