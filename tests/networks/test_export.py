"""Exported networks give the numbers of the Python ones, on another image than the one they were exported with."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from reconstructors import every_kind, every_network, measured, trained


def assert_agree(actual, expected):
    """Agreement to 1e-4 of the largest value."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@every_network
@every_kind
def test_torchscript(build, real_valued):
    network = trained(build(real_valued=real_valued))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(network), buffer)
        buffer.seek(0)
        scripted = torch.jit.load(buffer)
    for grid in ((32, 32), (33, 40)):
        _, mask, zero_filled = measured(grid, real_valued=real_valued, seed=1)
        with torch.no_grad():
            assert_agree(scripted(zero_filled), network(zero_filled))
            assert_agree(scripted(zero_filled, mask), network(zero_filled, mask))


@every_network
@every_kind
def test_onnx(build, real_valued, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = trained(build(real_valued=real_valued))
    _, _, example = measured((33, 40), batch=1, real_valued=real_valued)
    path = tmp_path / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(network, (example,), str(path), dynamo=True, input_names=["zero_filled"], verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _, _, other = measured((33, 40), batch=1, real_valued=real_valued, seed=1)
    (out,) = session.run(None, {session.get_inputs()[0].name: other.numpy()})
    with torch.no_grad():
        assert_agree(torch.from_numpy(out), network(other))
