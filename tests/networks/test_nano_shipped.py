"""Today's definition of the default network is still that of the shipped weights, to the bit."""

from pathlib import Path

import onnx
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from vesal.networks.nano import Nano, widths_of  # noqa: E402
from vesal.training.export import SMALL, WEIGHTS, write_graph  # noqa: E402
from vesal.training.warm import read_weights, warm_start  # noqa: E402
from vesal.weights.shared_file import save_shared  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)  # of the exporter that is chosen on purpose


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_an_export_of_the_shipped_weights_is_the_shipped_graph(
    degree: int, root: Path, tmp_path: Path
) -> None:
    shipped, name = root / "weights/nano", f"degree{degree}.onnx"
    network = Nano(widths_of(read_weights(shipped)))
    assert warm_start(network, shipped) == []
    with torch.no_grad():
        graph = write_graph(network.eval(), degree, tmp_path / "traced")
    save_shared([(name, graph)], tmp_path, WEIGHTS, True, lambda _, values: values.size >= SMALL)
    ours, theirs = (onnx.load(str(folder / name)).graph for folder in (tmp_path, shipped))
    assert list(ours.node) == list(theirs.node)
    assert {t.name: t.raw_data for t in ours.initializer} == {t.name: t.raw_data for t in theirs.initializer}
