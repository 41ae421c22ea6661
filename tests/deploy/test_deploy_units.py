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
from infomri_monai.deploy.case import CaseSource, DeployCase, DeployError
from infomri_monai.deploy.derivation import ModelIdentity, acquisition_words, derived
from infomri_monai.deploy.journal import CaseFacts, Delivery
from infomri_monai.deploy.launch import SIGNALS, end_quietly, raise_stack_limit
from infomri_monai.engines.case import AcquisitionRecord

MODEL = ModelIdentity("InfoMRI segmentation", "0.1.0", "ab" * 32)
MEASURED = AcquisitionRecord(False, *(None,) * 7, (64, 64), "native", (0, 0))
SIMULATED = AcquisitionRecord(
    True, 0.25, False, 7, "ComplexGaussianNoise", 5e-4, True, "UniformRandom", (64, 64), "adapt", (0, 0)
)


def test_words_of_an_acquisition():
    ratio = torch.tensor([0.2, 0.3])
    measured = "k-space was measured by the scanner at 25 % of its positions (4x undersampled)."
    assert acquisition_words(MEASURED, ratio) == measured
    assert acquisition_words(SIMULATED, ratio) == (
        "k-space was sampled at 25 % of its positions (4x undersampled) by UniformRandom, seed 7, with noise of standard "
        "deviation 0.0005 of the DC magnitude."
    )
    absolute = acquisition_words(SIMULATED._replace(noise_relative_to_dc=False), ratio)
    assert absolute.endswith("noise of standard deviation 0.0005.")
    assert acquisition_words(SIMULATED._replace(noise_std=None), ratio).endswith("seed 7.")
    assert acquisition_words(MEASURED, torch.zeros(2)).endswith(" at none of its positions.")
    assert acquisition_words(MEASURED, torch.ones(2)).endswith(" at all of its positions.")
    assert acquisition_words(MEASURED, torch.tensor([1 / 3])).endswith(
        " at 33.33 % of its positions (3x undersampled)."
    )


def test_a_description_says_once_how_kspace_came_about():
    for record in (MEASURED, SIMULATED):
        text = derived("sigma", record, torch.tensor([0.25]), MODEL).description.lower()
        assert text.count("simulated") == record.simulated
        assert text.count("measured") == (not record.simulated)
        assert text.count("k-space") == 1


@settings(deadline=None)
@given(
    st.floats(0, 1),
    st.sampled_from([MEASURED, SIMULATED]),
    st.text("abc .", max_size=3000),
    st.sampled_from(["sigma", "x" * 30]),
)
def test_a_derivation_always_fits_into_dicom(ratio, record, more, what):
    """64 characters of a series description, 1024 of a derivation's text, with the mark of a simulation."""
    made = derived(what, record, torch.tensor([ratio], dtype=torch.float64), MODEL, more)
    assert made.simulated is record.simulated
    assert made.model == MODEL
    assert made.series_description.startswith(f"InfoMRI {what}")
    assert "Research software, not for clinical use." in made.description
    assert ("SIMULATED" in made.series_description) is record.simulated


def test_a_derivation_names_the_acceleration():
    assert derived("sigma", SIMULATED, torch.tensor([0.125]), MODEL).title == "InfoMRI sigma 8x"
    assert derived("sigma", MEASURED, torch.tensor([0.3]), MODEL).title == "InfoMRI sigma 3.33x"
    assert derived("sigma", MEASURED, torch.zeros(1), MODEL).title == "InfoMRI sigma"
    assert derived("sigma", MEASURED, torch.ones(1), MODEL, "In nats.").text.endswith("clinical use. In nats.")


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
        self.clock, self.real_valued = clock, True

    def forward(self, x):
        self.clock[0] += 1
        if x is None:
            raise ValueError("nothing")
        return x

    def posterior(self, x, samples=1):
        return self(x), samples

    logits = reconstruct = posterior

    def helper(self):
        self.clock[0] += 10


def test_the_stopwatch_runs_while_the_network_works():
    clock = [0.0]
    network = Network(clock)
    timed = TimedNetwork(network, lambda: clock[0])
    assert timed(3) == 3
    assert timed.posterior(3, samples=2) == (3, 2)  # which calls the network: counted once
    assert timed.logits(1) == timed.reconstruct(1) == (1, 1)
    assert timed.seconds == 4
    refuses(ValueError, "nothing", timed, None)
    assert timed.seconds == 5
    timed.helper()
    clock[0] += 100
    assert timed.seconds == 5
    assert timed.real_valued
    assert timed.eval() is network
    assert not network.training
    assert isinstance(TimedNetwork(network).seconds, float)
    with pytest.raises(AttributeError):
        _ = timed.absent


def test_a_step_that_fails_keeps_what_the_error_says():
    """The warnings of the bundle before it failed, too; later steps pass the case by."""
    from infomri_monai.deploy.operators import _step

    case = DeployCase(1, "kspace", torch.zeros(1, 4, 5, 3), np.eye(4), CaseSource((), None), warnings=("axial",))
    delivery = Delivery(1, case)

    def fail():
        raise DeployError("no overlap.", warnings=("another grid",))

    _step(delivery, "inference", fail)
    _step(delivery, "write", lambda: pytest.fail("it has failed"))
    assert (delivery.failure, delivery.case) == ("no overlap.", None)
    assert delivery.known() == CaseFacts("kspace", 3, ("axial",), ("another grid",))
    assert delivery.seconds.keys() == {"inference"}


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
    (tmp_path / "program.py").write_text(PROGRAM)
    unlimited = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if unlimited != resource.RLIM_INFINITY and unlimited < 64 * 2**20:
        pytest.skip("the stack of this process may not be enlarged")
    limit = unlimited if hard is None else hard * 2**20
    arguments = ["-l", "a b", "--c=$HOME", "", "ü"]
    environment = {key: value for key, value in os.environ.items() if key != "INFOMRI_STACK_RAISED"}
    done = subprocess.run(
        [sys.executable, "-X", "utf8", str(tmp_path / "program.py"), *arguments],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (soft * 2**20, limit)),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        timeout=600,
    )
    assert done.stdout == f"{wanted} {arguments}\n"
    assert done.stderr == ""


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
    (tmp_path / "program.py").write_text(STARTING)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard != resource.RLIM_INFINITY and hard < 32 * 2**20:
        pytest.skip("the stack of this process may not be enlarged")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(int(number))],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (8 * 2**20, hard)),
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "INFOMRI_STACK_RAISED"},
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (128 + number, "waits\n")
    assert done.stderr == "interrupted; what is in the output folder is complete.\n"


def test_signals_that_are_ignored_stay_ignored():
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        end_quietly()
        assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
