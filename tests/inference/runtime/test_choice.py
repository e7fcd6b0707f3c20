"""Both runtimes on graphs whose answers are known, and the choice between them."""

import hashlib
import importlib.util
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vesal.inference.data.errors import OutOfDeviceMemoryError, ProfileError, RuntimeChoiceError
from vesal.inference.runtime import choice as runtime
from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.inference.runtime.onnx import OnnxGraph
from vesal.inference.runtime.openvino import IN_TURNS, OpenVino, OpenVinoGraph

onnx = pytest.importorskip("onnx", reason="the graphs of these tests are made with onnx")
ROOT = Path(__file__).resolve().parents[3]
INSTALLED = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]


@pytest.fixture(params=INSTALLED)
def opened(request: pytest.FixtureRequest) -> Runtime:
    """Each installed runtime in turn, with one thread."""
    return choose_runtime(request.param, threads=1)


@pytest.fixture
def volume_graph(tmp_path: Path) -> Path:
    """probability[n] = embedding[n, 0] * mean of the 3^3 neighbourhood of image, zeros outside; any shape."""
    helper, numpy_helper, types = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["mean"], kernel_shape=[3, 3, 3], pads=[1] * 6),
        helper.make_node("Reshape", ["embedding", "five"], ["factor"]),
        helper.make_node("Mul", ["mean", "factor"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "volume",
        [
            helper.make_tensor_value_info("image", types.FLOAT, [1, 1, "d", "h", "w"]),
            helper.make_tensor_value_info("embedding", types.FLOAT, ["n", 1]),
        ],
        [helper.make_tensor_value_info("probability", types.FLOAT, [1, "n", "d", "h", "w"])],
        [
            numpy_helper.from_array(np.full((1, 1, 3, 3, 3), 1 / 27, np.float32), "kernel"),
            numpy_helper.from_array(np.array([1, -1, 1, 1, 1]), "five"),
        ],
    )
    return save(graph, tmp_path / "volume.onnx")


@pytest.fixture
def token_graph(tmp_path: Path) -> Path:
    """sum[i] = the sum of the rows of [[0, 1], [10, 20], [300, 400]] that the tokens name."""
    helper, types = onnx.helper, onnx.TensorProto
    table = onnx.numpy_helper.from_array(np.array([[0, 1], [10, 20], [300, 400]], np.float32), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "tokens"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axis"], ["sum"], keepdims=0),
        ],
        "tokens",
        [helper.make_tensor_value_info("tokens", types.INT64, ["b", "l"])],
        [helper.make_tensor_value_info("sum", types.FLOAT, ["b", 2])],
        [table, onnx.numpy_helper.from_array(np.array([1]), "axis")],
    )
    return save(graph, tmp_path / "tokens.onnx")


def save(graph: Any, path: Path) -> Path:
    """Write a GraphProto as a model whose larger weights (the kernel) lie in a file beside it."""
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path, save_as_external_data=True, location=path.stem + ".data", size_threshold=100)
    return path


def test_graph_gives_the_known_answer_at_several_shapes(opened: Runtime, volume_graph: Path) -> None:
    """Inside a volume of twos the mean is 2, at a corner 8/27 of it; classes follow the embedding."""
    graph = opened.load(volume_graph, precision="fp32")
    assert (graph.inputs, graph.outputs) == (("image", "embedding"), ("probability",))
    for shape, factors in (((4, 5, 6), [1.0, 3.0]), ((3, 9, 4), [0.5]), ((4, 5, 6), [1.0, 3.0, -1.0])):
        image = np.full((1, 1, *shape), 2.0, np.float32)
        embedding = np.array(factors, np.float32)[:, None]
        result = graph({"image": image, "embedding": embedding})["probability"]
        assert result.shape == (1, len(factors), *shape)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result[0, :, 1, 1, 1], np.array(factors) * 2, rtol=1e-6)
        np.testing.assert_allclose(result[0, :, 0, 0, 0], np.array(factors) * 2 * 8 / 27, rtol=1e-6)


@pytest.mark.skipif("openvino" not in INSTALLED, reason="OpenVINO is not installed here")
def test_openvino_compiles_for_a_shape_in_fp32_where_last_bits_may_change(volume_graph: Path) -> None:
    """Only `always` waits for the first run's shape in fp32; the answer is the same at every shape."""
    opened = OpenVino(1, "a test")
    embedding = np.ones((1, 1), np.float32)
    for one_shape, waits in ((True, False), ("always", True)):
        graph = opened.load(volume_graph, "fp32", one_shape)
        assert (graph._request is None) is waits
        for shape in ((3, 4, 5), (5, 5, 5)):
            image = np.full((1, 1, *shape), 2.0, np.float32)
            found = graph({"image": image, "embedding": embedding})["probability"]
            assert found.shape == (1, 1, *shape)
            assert found[0, 0, 1, 1, 1] == pytest.approx(2)


@pytest.mark.skipif("openvino" not in INSTALLED, reason="OpenVINO is not installed here")
def test_graphs_in_turns_give_back_memory_when_another_runs(
    volume_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that runs again and again, nor one that was loaded otherwise; results stay the same bytes."""
    given_back: list[OpenVinoGraph] = []
    freed = OpenVinoGraph.give_back
    monkeypatch.setattr(OpenVinoGraph, "give_back", lambda graph: (given_back.append(graph), freed(graph)))
    opened = OpenVino(1, "a test")
    first, second = (opened.load(volume_graph, "fp32", IN_TURNS) for _ in range(2))
    other = opened.load(volume_graph, "fp32", "always")
    inputs = {
        "image": np.random.default_rng(1).random((1, 1, 6, 5, 4), np.float32),
        "embedding": np.ones((1, 1), np.float32),
    }
    found = [graph(inputs)["probability"] for graph in (first, second, second, first, other, first)]
    assert all(np.array_equal(each, found[0]) for each in found)
    # The second is there, and has not run, when the first runs.
    assert given_back == [second, first, first, second, second]


def test_results_belong_to_the_caller(opened: Runtime, volume_graph: Path) -> None:
    """A second run leaves the first one's result as it was."""
    graph = opened.load(volume_graph, precision="fp32")
    embedding = np.ones((1, 1), np.float32)
    first = graph({"image": np.full((1, 1, 3, 3, 3), 1.0, np.float32), "embedding": embedding})["probability"]
    graph({"image": np.full((1, 1, 3, 3, 3), 7.0, np.float32), "embedding": embedding})
    assert first[0, 0, 1, 1, 1] == pytest.approx(1.0)


def test_input_may_be_a_view_of_another_type(opened: Runtime, volume_graph: Path) -> None:
    """A transposed uint8 view is cast and laid out; its values arrive where they belong."""
    graph = opened.load(volume_graph, precision="fp32")
    image = np.zeros((1, 1, 3, 4, 5), np.uint8)
    image[0, 0, 0, 0, 4] = 27
    turned = image.transpose(0, 1, 4, 3, 2)
    result = graph({"image": turned, "embedding": np.ones((1, 1))})["probability"][0, 0]
    assert result[4, 0, 0] == pytest.approx(1.0)
    assert result[0, 0, 2] == 0.0


def test_tokens_stay_whole_numbers(opened: Runtime, token_graph: Path) -> None:
    """int64 goes in; rows 1 and 2 of the table sum to (310, 420)."""
    graph = opened.load(token_graph, precision="fp32")
    for tokens in (np.array([[1, 2]]), np.array([[1, 2, 0], [0, 0, 0]])):
        result = graph({"tokens": tokens})["sum"]
        assert result[0].tolist() == ([310.0, 420.0] if tokens.shape[1] == 2 else [310.0, 421.0])


def test_result_does_not_depend_on_what_ran_before(opened: Runtime, volume_graph: Path) -> None:
    """A shape's result is the same to the last bit fresh, after five other shapes, and after itself."""
    graph, embedding = opened.load(volume_graph), np.ones((2, 1), np.float32)
    image = np.random.default_rng(0).standard_normal((1, 1, 9, 7, 8), np.float32)
    fresh = opened.load(volume_graph)({"image": image, "embedding": embedding})["probability"]
    for length in (3, 4, 5, 6, 8):
        graph({"image": np.ones((1, 1, length, 3, 9), np.float32), "embedding": embedding})
    for _ in range(2):
        again = graph({"image": image, "embedding": embedding})["probability"]
        assert again.tobytes() == fresh.tobytes()


def test_threads_that_share_a_graph_get_what_each_of_them_asked(opened: Runtime, volume_graph: Path) -> None:
    """Eight threads with inputs of their own, each forty times: to the last bit what they get alone."""
    graph, embedding = opened.load(volume_graph), np.ones((2, 1), np.float32)
    images = [
        np.random.default_rng(seed).standard_normal((1, 1, 9 + seed, 20, 20), np.float32) for seed in range(8)
    ]
    alone = [graph({"image": image, "embedding": embedding})["probability"].tobytes() for image in images]
    together = threading.Barrier(len(images), timeout=60)

    def ask(number: int) -> set[bytes]:
        together.wait()
        inputs = {"image": images[number], "embedding": embedding}
        return {graph(inputs)["probability"].tobytes() for _ in range(40)}

    with ThreadPoolExecutor(len(images)) as pool:
        assert list(pool.map(ask, range(len(images)))) == [{one} for one in alone]


def test_wrong_names_and_shapes_are_named(opened: Runtime, volume_graph: Path) -> None:
    """A missing input, a foreign one and a shape that cannot be: each is a ProfileError."""
    graph = opened.load(volume_graph, precision="fp32")
    image, embedding = np.ones((1, 1, 3, 3, 3), np.float32), np.ones((1, 1), np.float32)
    with pytest.raises(ProfileError, match="image, embedding; image came"):
        graph({"image": image})
    with pytest.raises(ProfileError, match="extra"):
        graph({"image": image, "embedding": embedding, "extra": embedding})
    with pytest.raises(ProfileError, match=r"volume.onnx cannot be run on image \(1, 2, 3, 3, 3\)"):
        graph({"image": np.ones((1, 2, 3, 3, 3), np.float32), "embedding": embedding})


def test_what_is_no_graph_is_named(opened: Runtime, tmp_path: Path) -> None:
    """An absent file and a text file."""
    (tmp_path / "text.onnx").write_text("no graph at all")
    with pytest.raises(ProfileError, match="absent.onnx is not there"):
        opened.load(tmp_path / "absent.onnx")
    with pytest.raises(ProfileError, match="text.onnx"):
        opened.load(tmp_path / "text.onnx")


def test_unknown_precision_is_refused(opened: Runtime, volume_graph: Path) -> None:
    """The message names what was asked for."""
    with pytest.raises(RuntimeChoiceError, match="int3"):
        opened.load(volume_graph, precision="int3")


RUN = """
import hashlib, sys, numpy as np
from pathlib import Path
from types import SimpleNamespace
from vesal.inference.runtime.choice import choose_runtime
graph = choose_runtime(sys.argv[1], threads=2).load(Path(sys.argv[2]))
image = np.random.default_rng(0).standard_normal((1, 1, 24, 20, 28), np.float32)
for _ in range(2):
    result = graph({"image": image, "embedding": np.ones((3, 1), np.float32)})["probability"]
    print(hashlib.sha256(result.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("name", INSTALLED)
def test_same_bytes_twice_and_in_two_processes(name: str, volume_graph: Path) -> None:
    """Two runs in each of two processes, in the runtime's own precision: one digest."""
    digests = set()
    for _ in range(2):
        command = [sys.executable, "-c", RUN, name, str(volume_graph)]
        digests |= set(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split())
    assert len(digests) == 1
    assert digests != {hashlib.sha256(b"").hexdigest().encode()}


@pytest.mark.skipif("openvino" not in INSTALLED, reason="openvino is not installed")
def test_openvino_writes_nothing_and_tells_nobody(tmp_path: Path) -> None:
    """Its converter would leave a folder in the home and open a connection; neither happens through us."""
    code = (
        "import sys; from vesal.inference.runtime.choice import choose_runtime; choose_runtime('openvino');"
        "assert 'openvino_telemetry' not in sys.modules, 'telemetry';"
        "assert 'openvino.tools.ovc' not in sys.modules, 'converter';"
        "assert 'urllib.request' not in sys.modules, 'network'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_choice_on_a_cpu_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO before ONNX Runtime, and the other way round where it is not installed."""
    monkeypatch.setattr(runtime, "_GPU_DEVICES", ())
    monkeypatch.setattr(runtime, "_installed", lambda name: True)
    assert [name for name, _ in runtime._candidates()] == ["openvino", "onnxruntime"]
    monkeypatch.setattr(runtime, "_installed", lambda name: name == "onnxruntime")
    assert [name for name, _ in runtime._candidates()] == ["onnxruntime"]


def test_choice_prefers_a_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device without the package's CUDA, or CUDA without a device, is no GPU."""
    monkeypatch.setattr(runtime, "_installed", lambda name: True)
    for device, cuda, first in (
        (tmp_path, True, "cuda"),
        (tmp_path, False, "openvino"),
        (None, True, "openvino"),
    ):
        monkeypatch.setattr(runtime, "_GPU_DEVICES", (device,) if device else (tmp_path / "absent",))
        monkeypatch.setattr(runtime, "_has_cuda", lambda cuda=cuda: cuda)
        assert runtime._candidates()[0][0] == first


def test_choice_passes_over_what_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken OpenVINO leads to ONNX Runtime with the reason; asked for by name it is an error."""
    pytest.importorskip("onnxruntime")

    def broken(threads: int, reason: str) -> Runtime:
        raise ImportError("libopenvino.so: wrong ELF class")

    monkeypatch.setattr(runtime, "_GPU_DEVICES", ())
    monkeypatch.setattr(runtime, "_installed", lambda name: True)
    monkeypatch.setattr(runtime, "_open_openvino", broken)
    chosen = choose_runtime(threads=1)
    assert chosen.name == "onnxruntime"
    assert "wrong ELF class" in chosen.reason
    with pytest.raises(RuntimeChoiceError, match="wrong ELF class"):
        choose_runtime("openvino")


def test_no_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing installed, and a name that is none."""
    monkeypatch.setattr(runtime, "_installed", lambda name: False)
    with pytest.raises(RuntimeChoiceError, match="Install openvino"):
        choose_runtime()
    with pytest.raises(RuntimeChoiceError, match="abacus.*openvino"):
        choose_runtime("abacus")


@pytest.mark.skipif("openvino" not in INSTALLED, reason="openvino is not installed")
def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the instructions it is fp32, whatever OpenVINO offers; the reason says so."""
    import dataclasses

    from vesal.inference.runtime import openvino as runtime_openvino

    described = runtime_openvino.processor()
    plain = dataclasses.replace(described, bf16=False)
    monkeypatch.setattr(runtime_openvino, "processor", lambda: plain)
    chosen = OpenVino(1, "chosen")
    assert chosen.precision == "fp32"
    assert chosen.reason == "chosen; fp32 because the processor has no bf16"


class Native:
    """The errors that ONNX Runtime's compiled module raises, by their names."""

    class InvalidArgument(Exception):  # noqa: N818 - its own name
        pass

    class Fail(Exception):  # noqa: N818 - its own name
        pass

    class RuntimeException(Exception):  # noqa: N818 - its own name
        pass


def failing_graph(error: Exception) -> OnnxGraph:
    """A graph without inputs whose session raises."""

    def run(*_: object) -> None:
        raise error

    session = SimpleNamespace(get_inputs=lambda: [], get_outputs=lambda: [], run=run)
    return OnnxGraph(session, Path("volume.onnx"), Native)


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
        "Name:'c' Status Message: bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, "
        "bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 8388608000",
        "onnxruntime::BFCArena::AllocateRawInternal Available memory of 19968 is smaller than requested "
        "bytes of 1572864",
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc((void**)&p, size);",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
    ],
)
@pytest.mark.parametrize("kind", [Native.Fail, Native.RuntimeException])
def test_a_full_gpu_is_told_from_other_errors(text: str, kind: type[Exception]) -> None:
    """With the texts of ONNX Runtime; no GPU was there to raise them."""
    with pytest.raises(OutOfDeviceMemoryError, match=r"volume\.onnx does not fit"):
        failing_graph(kind(text))({})


@pytest.mark.parametrize(
    "error",
    [
        Native.RuntimeException("CUDA failure 700: an illegal memory access was encountered ; GPU=0"),
        Native.Fail("CUDNN failure 8: CUDNN_STATUS_EXECUTION_FAILED"),
        OSError("Failed to allocate memory for requested buffer of size 1"),
    ],
)
def test_other_errors_of_a_gpu_keep_their_type(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        failing_graph(error)({})
    assert caught.value is error
