"""Exported task models give the numbers of the Python ones, noise included, on another image than they were exported with."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from task_models import every_kind, every_model, images, latent, moved


def exportable(build, **kind):
    """Small; the latent model decodes its samples in parts, so that the loop over parts is exported too."""
    return moved(build, **kind, **({"memory_budget": 0.9} if build is latent else {}))


def through_a_file(module):
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def assert_agree(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@every_model
@every_kind
def test_scripted(build, kind):
    model = exportable(build, **kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        scripted = through_a_file(torch.jit.script(model))
    for grid, batch in (((32, 32), 1), ((33, 40), 3)):
        with torch.no_grad():
            image = images(grid, batch, seed=1)
            assert_agree(scripted(image), model(image))


@every_model
def test_traced(build):
    model = exportable(build, num_classes=3)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes become constants
        traced = through_a_file(torch.jit.trace(model, images((33, 40), 1), check_trace=False))
        image = images((33, 40), 1, seed=1)
        assert_agree(traced(image), model(image))


def test_self_attention_is_traced():
    """MONAI's attention block cannot be scripted; traced and exported to ONNX it can be."""
    model = moved(latent, num_classes=3, non_local=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = through_a_file(torch.jit.trace(model, images((33, 40), 1), check_trace=False))
        image = images((33, 40), 1, seed=1)
        assert_agree(traced(image), model(image))
        assert not torch.allclose(model(image), moved(latent, num_classes=3)(image), atol=1e-3)


@pytest.mark.slow
@every_model
@every_kind
def test_onnx(build, kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path = exportable(build, **kind), tmp_path / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            model,
            (images((33, 40), 1),),
            str(path),
            dynamo=True,
            opset_version=18,
            input_names=["zero_filled"],
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = images((33, 40), 1, seed=1)
    (out,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        assert_agree(torch.from_numpy(out), model(image))
