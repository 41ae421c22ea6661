"""Small parts of the applications: words, layouts, the stopwatch, and the stack that is asked for at the start."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.deploy.bundle import TimedNetwork, volume_of
from infomri_monai.deploy.derivation import ModelIdentity, acquisition_words, derived
from infomri_monai.deploy.launch import SIGNALS, raise_stack_limit
from infomri_monai.engines.case import AcquisitionRecord

MODEL = ModelIdentity("InfoMRI segmentation", "0.1.0", "ab" * 32)
MEASURED = AcquisitionRecord(False, *(None,) * 7, (64, 64), "native", (0, 0))
SIMULATED = AcquisitionRecord(
    True, 0.25, False, 7, "ComplexGaussianNoise", 5e-4, "dc", "UniformRandom", (64, 64), "adapt", (0, 0)
)


@pytest.mark.parametrize(
    ("record", "ratio", "end"),
    [
        (MEASURED, [0.2, 0.3], "k-space was measured by the scanner at 25 % of its positions (4x undersampled)."),
        (MEASURED, [0.0, 0.0], " at none of its positions."),
        (MEASURED, [1.0, 1.0], " at all of its positions."),
        (MEASURED, [1 / 3], " at 33.33 % of its positions (3x undersampled)."),
        (SIMULATED, [0.2, 0.3], "seed 7, with noise of standard deviation 0.0005 of the DC magnitude."),
        (SIMULATED, [0.25], "k-space was sampled at 25 % of its positions (4x undersampled) by UniformRandom, seed 7"),
        (SIMULATED._replace(noise_reference="peak"), [0.2], "deviation 0.0005 of the peak magnitude."),
        (SIMULATED._replace(noise_reference="absolute"), [0.2], "noise of standard deviation 0.0005."),
        (SIMULATED._replace(noise_std=None), [0.2], "seed 7."),
    ],
)
def test_words_of_an_acquisition(record, ratio, end):
    assert end in acquisition_words(record, torch.tensor(ratio))


@settings(deadline=None)
@given(
    st.floats(0, 1),
    st.sampled_from([MEASURED, SIMULATED]),
    st.text("abc .", max_size=3000),
    st.sampled_from(["sigma", "x" * 30]),
)
def test_a_derivation_always_fits_into_dicom(ratio, record, more, what):
    """64 characters of a series description, 1024 of a derivation's text, which says once how k-space came about."""
    made = derived(what, record, torch.tensor([ratio], dtype=torch.float64), MODEL, more)
    assert (made.simulated, made.model) == (record.simulated, MODEL)
    assert made.title.startswith(f"InfoMRI {what}")
    assert "Research software, not for clinical use." in made.description
    said = [made.description.lower().count(word) for word in ("simulated", "measured", "k-space")]
    assert said == [record.simulated, not record.simulated, 1]
    assert ("SIMULATED" in made.series_description) is record.simulated


@pytest.mark.parametrize("leading", [0, 1, 2])
@pytest.mark.parametrize("slices", [None, 1, 3])
@pytest.mark.parametrize(
    ("domain", "swap_axes", "geometry", "turned"),
    [
        ("image", False, True, False),
        ("image", True, True, True),
        ("kspace", False, True, False),
        ("kspace", True, True, False),
        ("kspace", True, False, True),
        ("kspace", False, False, True),
    ],
)
def test_maps_come_back_in_the_layout_of_their_case(leading, slices, domain, swap_axes, geometry, turned):
    """(column, row, slice) of the case; images were swapped on their way in, and arrays of k-space are (row, column)."""
    wanted = np.arange(np.prod([*(2, 3)[:leading], 4, 5, slices or 1])).reshape(*(2, 3)[:leading], 4, 5, slices or 1)
    given = wanted.swapaxes(leading, leading + 1) if turned else wanted
    map_ = torch.from_numpy(given.copy() if slices else given[..., 0].copy())
    case, bundle = SimpleNamespace(domain=domain, has_geometry=geometry), SimpleNamespace(swap_axes=swap_axes)
    found = volume_of(map_, case, bundle, leading)
    assert np.array_equal(found, wanted)


class Network(torch.nn.Module):
    """Takes a second of a clock that stands still otherwise."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x):
        self.clock[0] += 1
        if x is None:
            raise ValueError("nothing")
        return x

    def posterior(self, x, samples=1):
        return self(x), samples

    logits = reconstruct = posterior


def test_the_stopwatch_runs_while_the_network_works():
    clock = [0.0]
    network = Network(clock)
    timed = TimedNetwork(network, lambda: clock[0])
    assert timed(3) == 3
    assert timed.posterior(3, samples=2) == (3, 2)  # which calls the network: counted once
    assert timed.logits(1) == timed.reconstruct(1) == (1, 1)
    refuses(ValueError, "nothing", timed, None)
    clock[0] += 100
    assert timed.seconds == 5
    assert timed.eval() is network
    with pytest.raises(AttributeError):
        _ = timed.absent


def started(folder, program, *arguments, soft=8, hard=None):
    """A program run with limits of its stack in MiB; skips where this process may not have them."""
    (folder / "program.py").write_text(program)
    unlimited = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if unlimited != resource.RLIM_INFINITY and unlimited < 64 * 2**20:
        pytest.skip("the stack of this process may not be enlarged")
    limits = (soft * 2**20, unlimited if hard is None else hard * 2**20)
    return subprocess.run(
        [sys.executable, "-X", "utf8", str(folder / "program.py"), *arguments],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, limits),
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "INFOMRI_STACK_RAISED"},
        timeout=600,
    )


PROGRAM = """
import resource, sys
from infomri_monai.deploy.launch import raise_stack_limit
raise_stack_limit()
print(resource.getrlimit(resource.RLIMIT_STACK)[0] // 2**20, sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"), [(8, None, 32), (8, 16, 16), (8, 8, 8), (64, None, 64), (4, 512, 32)]
)
def test_a_program_starts_anew_with_a_larger_stack(soft, hard, wanted, tmp_path):
    """With the same arguments, whatever is in them, as far as it may."""
    arguments = ["-l", "a b", "--c=$HOME", "", "ü"]
    done = started(tmp_path, PROGRAM, *arguments, soft=soft, hard=hard)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{wanted} {arguments}\n", "")


def test_a_program_starts_anew_only_once(monkeypatch):
    """Where the limit does not take (a container's own rules), there is no endless loop."""
    started = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (8 * 2**20, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: started.append(limits))
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments[1:]))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "something", "-i", "in"])
    monkeypatch.delenv("INFOMRI_STACK_RAISED", raising=False)
    raise_stack_limit()
    raise_stack_limit()
    assert started == [(32 * 2**20, resource.RLIM_INFINITY), ["-m", "something", "-i", "in"]]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


STARTING = """
import os, resource, signal, sys
from infomri_monai.deploy.launch import end_quietly, raise_stack_limit
end_quietly()
if os.environ.get("INFOMRI_STACK_RAISED"):
    signal.raise_signal(int(sys.argv[1]))
    print("waits", flush=True)
raise_stack_limit()
print("never")
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_a_program_starts_anew(number, tmp_path):
    """It waits until the new process can end in one line."""
    done = started(tmp_path, STARTING, str(int(number)))
    assert (done.returncode, done.stdout) == (128 + number, "waits\n")
    assert done.stderr == "interrupted; what is in the output folder is complete.\n"
