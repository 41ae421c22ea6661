"""Exported networks give the numbers of the Python ones, noise included, on another image than they were exported with."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager

import pytest
import torch
from reconstructors import every_kind, every_network, measured, trained
from task_models import BUILDERS, every_model, images, latent, moved
from task_models import every_kind as every_task_kind


def assert_agree(actual, expected):
    """Agreement to 1e-4 of the largest value."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@contextmanager
def known_warnings():
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes become constants
        yield


def scripted(module):
    """The module through TorchScript's file; a traced one too."""
    buffer = io.BytesIO()
    torch.jit.save(module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def onnx_output(network, example, other, path):
    onnxruntime = pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        names = {"input_names": ["zero_filled"], "opset_version": 18}
        torch.onnx.export(network, (example,), str(path), dynamo=True, verbose=False, **names)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: other.numpy()})[0])


@every_network
@every_kind
def test_torchscript(build, real_valued):
    network = trained(build(real_valued=real_valued))
    with known_warnings():
        copy = scripted(network)
        for grid in ((32, 32), (33, 40)):
            _, mask, zero_filled = measured(grid, real_valued=real_valued, seed=1)
            assert_agree(copy(zero_filled), network(zero_filled))
            assert_agree(copy(zero_filled, mask), network(zero_filled, mask))


@every_network
@every_kind
def test_onnx(build, real_valued, tmp_path):
    network = trained(build(real_valued=real_valued))
    example, other = (measured((33, 40), batch=1, real_valued=real_valued, seed=seed)[2] for seed in (0, 1))
    out = onnx_output(network, example, other, tmp_path / "network.onnx")
    with torch.no_grad():
        assert_agree(out, network(other))


def exportable(build, **kind):
    """Small; the latent model decodes its samples in parts, so that the loop over parts is exported too."""
    return moved(build, **kind, **({"memory_budget": 0.9} if build is latent else {}))


@every_model
@every_task_kind
def test_task_models_scripted(build, kind):
    model = exportable(build, **kind)
    with known_warnings():
        copy = scripted(model)
        for grid, batch in (((32, 32), 1), ((33, 40), 3)):
            image = images(grid, batch, seed=1)
            assert_agree(copy(image), model(image))


def test_coarse_noise_scripted():
    model = moved(latent, noise_stride=2, num_classes=3)
    with known_warnings():
        copy = scripted(model)
        for grid in ((32, 32), (33, 47)):
            assert_agree(copy(images(grid)), model(images(grid)))


#: MONAI's attention block cannot be scripted; traced and exported to ONNX it can be
TRACED = {name: (build, {}) for name, build in BUILDERS.items()} | {"attention": (latent, {"non_local": True})}


@pytest.mark.parametrize(("build", "options"), TRACED.values(), ids=TRACED.keys())
def test_task_models_traced(build, options):
    model, image = exportable(build, num_classes=3, **options), images((33, 40), 1, seed=1)
    with known_warnings():
        traced = scripted(torch.jit.trace(model, images((33, 40), 1), check_trace=False))
        assert_agree(traced(image), model(image))


@pytest.mark.slow
@every_model
@every_task_kind
def test_task_models_onnx(build, kind, tmp_path):
    model, image = exportable(build, **kind), images((33, 40), 1, seed=1)
    out = onnx_output(model, images((33, 40), 1), image, tmp_path / "network.onnx")
    with torch.no_grad():
        assert_agree(out, model(image))
