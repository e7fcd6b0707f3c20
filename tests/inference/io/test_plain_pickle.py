"""The restricted unpickler: what numpy writes is read, anything else is refused and not run."""

import collections
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import PromptError, UnsafePickleError
from vesal.inference.io.plain_pickle import load_plain

PROMPTS = {"1": "Liver in CT", "2": "Spleen", "instance_label": 0}


def pickled(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(np.array(value, dtype=object), protocol=protocol)


def spelled(data: bytes, old: str, new: str) -> bytes:
    """Rename a module in a protocol 4 pickle: SHORT_BINUNICODE carries the length in one byte."""
    before, after = (b"\x8c" + bytes([len(n)]) + n.encode() for n in (old, new))
    assert before in data
    body = data.replace(before, after)
    frame = struct.pack("<Q", len(body) - 11)  # PROTO (2 bytes), FRAME (1 + 8)
    return body[:3] + frame + body[11:]


class Runs:
    """Pickles as a call of `function`, the way an attack does."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_reads_what_numpy_writes_in_every_protocol(protocol):
    assert load_plain(pickled(PROMPTS, protocol)) == PROMPTS


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_1_and_numpy_2_spellings(module):
    data = spelled(pickled(PROMPTS), "numpy._core.multiarray", module)
    assert module.encode() in data
    assert load_plain(data) == PROMPTS


def test_numpy_1_spelling_built_by_hand():
    # GLOBAL opcodes ('c'), as protocol 2 has them: _reconstruct(ndarray, (0,), b''), then its state.
    data = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85"
    data += b"c_codecs\nencode\nX\x01\x00\x00\x00bX\x06\x00\x00\x00latin1\x86RtR"
    data += b"(K\x01)cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R"
    data += b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xff"
    data += b"J\xff\xff\xff\xffK?tb\x89]}X\x01\x00\x00\x003X\x05\x00\x00\x00Heartsatb."
    assert load_plain(data) == {"3": "Heart"}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(-7), -7),
        (np.uint8(1), 1),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("Leber"), "Leber"),
        (np.array([3, 4], ">i2"), [3, 4]),
        (np.array("x"), "x"),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.asfortranarray(np.arange(6).reshape(2, 3)), [[0, 1, 2], [3, 4, 5]]),
        (np.array([[[1], "a"], [None, 2]], object), [[[1], "a"], [None, 2]]),
        (np.zeros((10**9, 0)), []),
        (None, None),
        ((1, [2.5]), (1, [2.5])),
    ],
)
def test_numpy_values_become_plain(value, plain):
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        data = pickled({"a": value})
        result = load_plain(spelled(data, "numpy._core.multiarray", module))
        assert result == {"a": plain}
        assert type(result["a"]) is type(plain)


def test_protocol_5_array_comes_from_its_buffer():
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        data = pickle.dumps({"a": np.array([1, 2], np.int32)}, protocol=5)
        assert load_plain(spelled(data, "numpy._core.numeric", module)) == {"a": [1, 2]}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    data = pickle.dumps(Runs(os.system, f"touch {trace}"), protocol=protocol)
    with pytest.raises(UnsafePickleError, match=f"{os.system.__module__}.system"):
        load_plain(data)
    assert not trace.exists()
    pickle.loads(data)  # the attack is real: plain pickle runs it
    assert trace.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, open, np.load, np.memmap, Path])
def test_every_other_global_is_named_and_refused(function):
    with pytest.raises(UnsafePickleError, match=function.__name__):
        load_plain(pickled({"1": Runs(function, "x")}))


def test_dotted_name_of_a_permitted_module_is_refused():
    data = b"\x80\x04\x8c\x05numpy\x8c\x0dload.__call__\x93\x8c\x01x\x85R."
    with pytest.raises(UnsafePickleError, match="load.__call__"):
        load_plain(data)


def test_a_permitted_function_cannot_be_changed():
    with pytest.raises(UnsafePickleError, match="change a function"):
        load_plain(b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aNsb.")


def test_instance_opcode_names_its_class():
    with pytest.raises(UnsafePickleError, match="os.system"):
        load_plain(b"(S'true'\nios\nsystem\n.")


@pytest.mark.parametrize("data", [b"\x80\x02\x82\x01.", b"Pname\n.", b"\x80\x04\x8f."])
def test_opcodes_beyond_data_are_refused(data):
    with pytest.raises(UnsafePickleError, match="EXT1 for 1|PERSID for 'name'|EMPTY_SET"):
        load_plain(data)


def test_object_pointers_in_bytes_are_refused():
    # A dtype 'O8' with bytes as content: numpy would take the bytes for addresses.
    data = pickled({"a": np.arange(2, dtype=np.int64)}).replace(b"\x8c\x02i8", b"\x8c\x02O8")
    with pytest.raises(UnsafePickleError, match="O8"):
        load_plain(data)


def test_absurd_memo_index_costs_nothing():
    assert load_plain(b"\x80\x02]r\xff\xff\xff\x7f.") == []


def test_tuples_that_multiply_are_no_keys():
    # Sixty doublings: hashing the key, or printing it, would never end.
    with pytest.raises(PromptError, match="tuple as a key"):
        load_plain(b"\x80\x02})" + b"2\x86" * 60 + b"Ns.")
    with pytest.raises(PromptError):
        load_plain(b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.")


def test_self_containing_dict_is_refused():
    loop: dict = {}
    loop["1"] = loop
    with pytest.raises(PromptError, match="contain themselves"):
        load_plain(pickle.dumps(loop))


DICTS = {
    "ordered": collections.OrderedDict({"1": "Liver", "instance_label": 0}),
    "default": collections.defaultdict(list, {"1": "Liver", "instance_label": 0}),
    "text as bytes": {"1": b"Liver", "instance_label": 0},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("which", DICTS)
def test_other_dicts_are_dicts(which, protocol):
    assert load_plain(pickle.dumps(DICTS[which], protocol)) == {"1": "Liver", "instance_label": 0}


def test_pairs_of_an_ordered_dict_of_python_2():
    pairs = b"ccollections\nOrderedDict\n((lp0\n(lp1\nV1\naVLiver\naatR."
    assert load_plain(pairs) == {"1": "Liver"}
    with pytest.raises(PromptError, match="list as a key"):
        load_plain(pairs.replace(b"V1\n", b"]"))


@pytest.mark.parametrize("name", ["list", "dict", "str", "int"])
def test_a_type_that_is_named_is_never_called(name):
    with pytest.raises(UnsafePickleError, match="bare object"):
        load_plain(b"cbuiltins\n" + name.encode() + b"\n(tR.")


@pytest.mark.parametrize("value", [{1, 2}, 1j, bytearray(b"x")])
def test_types_that_no_prompt_has_are_refused(value):
    with pytest.raises(PromptError):
        load_plain(pickled({"1": value}))


def test_a_shape_that_does_not_fit_its_elements_is_refused():
    data = pickled({"a": np.arange(6).reshape(2, 3)})
    with pytest.raises(PromptError, match="reshape"):
        load_plain(data.replace(b"K\x02K\x03\x86", b"K\x02K\x05\x86"))


def test_what_is_wanted_is_said():
    with pytest.raises(PromptError, match="here: .* holding lists of boxes"):
        load_plain(b"", "here", "lists of boxes")


def test_cut_pickle_is_a_prompt_error_at_every_length():
    data = pickled(PROMPTS)
    for length in range(len(data)):
        with pytest.raises(PromptError):
            load_plain(data[:length])
