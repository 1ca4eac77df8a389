from __future__ import annotations

import pickle
import textwrap

import foreign_python
import msgpack
import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.policies.wire.codec import pack, unpack

VALUES = """{
    "observation/image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "observation/state": np.array([0.5, -1.25], np.float32),
    "prompt": "open top drawer",
    "n": np.int64(3),
    "x": np.float32(0.1),
    "b": np.bool_(True),
    "t": np.array(True),
    "e": np.zeros((0, 7)),
    "f": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
    "s": np.array(["a", "bc"]),
}"""
"""As a text, for it is also evaluated where openpi-client is."""
OPENPI = bytes.fromhex(
    "8ab16f62736572766174696f6e2f696d61676584c40b5f5f6e6461727261795f5fc3c40464617461c40c0001020304050607"
    "08090a0bc4056474797065a37c7531c405736861706593020203b16f62736572766174696f6e2f737461746584c40b5f5f6e"
    "6461727261795f5fc3c40464617461c4080000003f0000a0bfc4056474797065a33c6634c40573686170659102a670726f6d"
    "7074af6f70656e20746f7020647261776572a16e83c40d5f5f6e7067656e657269635f5fc3c4046461746103c40564747970"
    "65a33c6938a17883c40d5f5f6e7067656e657269635f5fc3c40464617461cb3fb99999a0000000c4056474797065a33c6634"
    "a16283c40d5f5f6e7067656e657269635f5fc3c40464617461c3c4056474797065a37c6231a17484c40b5f5f6e6461727261"
    "795f5fc3c40464617461c40101c4056474797065a37c6231c405736861706590a16584c40b5f5f6e6461727261795f5fc3c4"
    "0464617461c400c4056474797065a33c6638c4057368617065920007a16684c40b5f5f6e6461727261795f5fc3c404646174"
    "61c40c000000010002000300040005c4056474797065a33e6932c4057368617065920203a17384c40b5f5f6e646172726179"
    "5f5fc3c40464617461c41061000000000000006200000063000000c4056474797065a33c5532c40573686170659102"
)
"""What openpi-client 0.1.2 makes of VALUES."""
VLA_EVAL = bytes.fromhex(
    "84a474797065ab6f62736572766174696f6ea77061796c6f616486a6696d6167657381a77072696d61727984ab5f5f6e6461"
    "727261795f5fc3a464617461c40c000102030405060708090a0ba56474797065a37c7531a5736861706593020203a6737461"
    "74657384ab5f5f6e6461727261795f5fc3a464617461c4080000003f0000a0bfa56474797065a33c6634a573686170659102"
    "b07461736b5f6465736372697074696f6eaf6f70656e20746f7020647261776572a16e03a178cb3fe0000000000000a162c3"
    "a373657107a974696d657374616d70cb3ff8000000000000"
)
"""What vla-eval 0.8.0 makes of a frame, with its images raw."""


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray | np.generic):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


def test_openpis_bytes_are_ours():
    values = eval(VALUES)
    assert pack(values) == OPENPI
    assert same(unpack(OPENPI), values)


def test_the_real_openpi_client_writes_and_reads_the_same_bytes():
    python = foreign_python.interpreter("openpi-client")
    script = """
        import sys, numpy as np
        from openpi_client import msgpack_numpy
        values = {values}
        ours = bytes.fromhex(sys.argv[1])
        assert msgpack_numpy.packb(values) == ours
        read = msgpack_numpy.unpackb(ours)
        assert all(np.array_equal(read[key], values[key]) for key in values)
        print("same")
    """
    script = textwrap.dedent(script).replace("{values}", " ".join(VALUES.split()))
    assert foreign_python.run(python, script, pack(eval(VALUES)).hex()) == "same\n"


def test_vla_evals_bytes_are_ours():
    frame = unpack(VLA_EVAL)
    assert frame["payload"]["states"].tolist() == [0.5, -1.25]
    payload = {
        "images": {"primary": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)},
        "states": np.array([0.5, -1.25], np.float32),
        "task_description": "open top drawer",
        "n": np.int64(3),
        "x": np.float32(0.5),
        "b": np.bool_(True),
    }
    ours = pack({"type": "observation", "payload": payload, "seq": 7, "timestamp": 1.5}, "vla_eval")
    assert ours == VLA_EVAL


def test_the_real_vla_eval_reads_our_frames():
    python = foreign_python.interpreter("vla-eval")
    script = """
        import sys
        from vla_eval.protocol.messages import unpack_message
        message = unpack_message(bytes.fromhex(sys.argv[1]))
        print(message.type.value, message.seq, message.payload["images"]["primary"].tolist())
    """
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    frame = {"type": "observation", "payload": {"images": {"primary": image}}, "seq": 2, "timestamp": 0.0}
    said = foreign_python.run(python, textwrap.dedent(script), pack(frame, "vla_eval").hex())
    assert said == f"observation 2 {image.tolist()}\n"


@pytest.mark.parametrize("flavour", ["openpi", "vla_eval"])
@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.array([1j]),
        np.array(["2026-01-01"], "datetime64[D]"),
        object(),
        {1, 2},
        2**70,
    ],
    ids=["objects", "structure", "complex", "dates", "object", "set", "huge"],
)
def test_what_is_no_plain_array_does_not_leave(value, flavour):
    with pytest.raises(SimeditError, match="cannot be sent"):
        pack({"x": value}, flavour)


def array(data=b"abcd", dtype="|u1", shape=(4,), keys=str.encode):
    return {keys("__ndarray__"): True, keys("data"): data, keys("dtype"): dtype, keys("shape"): shape}


@pytest.mark.parametrize("keys", [str.encode, str], ids=["openpi", "vla_eval"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"data": pickle.dumps([1]), "dtype": "|O", "shape": (1,)},
        {"dtype": "V4", "shape": (1,)},
        {"dtype": "i4,i4", "shape": ()},
        {"dtype": "c8"},
        {"dtype": "no"},
        {"dtype": None},
        {"dtype": "S0"},
        {"shape": (5,)},
        {"shape": (2**40, 2**40)},
        {"shape": (-4, -1)},
        {"shape": (True, 4)},
        {"shape": 4},
        {"shape": (4.0,)},
        {"data": "abcd"},
        {"data": None},
    ],
    ids=str,
)
def test_what_is_no_plain_array_is_not_read(wrong, keys):
    with pytest.raises(SimeditError, match="no msgpack with arrays"):
        unpack(msgpack.packb(array(**wrong, keys=keys)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1",
        OPENPI[:-1],
        OPENPI + b"\x00",
        msgpack.packb({b"__ndarray__": True}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "|O", b"data": 1}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "<f4", b"data": "x"}),
        b"\x91" * 100_000 + b"\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
)
def test_bytes_that_others_wrote_are_read_or_refused(data):
    with pytest.raises(SimeditError, match="no msgpack with arrays"):
        unpack(data)


def test_arrays_can_be_written_to():
    unpack(OPENPI)["observation/image"][:] = 0
