"""A bundle in memory: its own configuration, settings on top, the result untouched, and what it warned of.

Raw k-space that lies turned for the network is told so, in the words of the patient's axes; nothing else is.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fault_runs import logging_as_before
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from hospital.raw_scan import ExampleGeometry, example_head, write_example_fastmri, write_example_ismrmrd
from infomri_monai.data.embedded import embedded_subjects
from infomri_monai.deploy.bundle import DeployBundle, orientation_warning
from infomri_monai.deploy.case import EXIT_USAGE, CaseSource, DeployCase, DeployError
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.command import _quiet
from infomri_monai.deploy.model_files import sha256

BUNDLES = Path(__file__).parents[2] / "bundles"
RECON, SEGMENTATION, PRIVACY = (
    BUNDLES / name for name in ("infomri_recon", "infomri_segmentation", "infomri_privacy_classification")
)
TASKS = {RECON: "reconstruction", SEGMENTATION: "segmentation", PRIVACY: "classification"}
every_bundle = pytest.mark.parametrize("root", TASKS, ids=lambda root: root.name)
GRID = (52, 60)


def case(data, domain="image", number=3, mask=None):
    """A case of an array (columns, rows, slices)."""
    tensor = torch.as_tensor(np.ascontiguousarray(data))[None]
    return DeployCase(number, domain, tensor, np.diag([2.0, 3.0, 4.0, 1.0]), CaseSource((), Dataset()), mask)


def head(slices=2, seed=0):
    """Magnitude, (columns, rows, slices)."""
    entries = embedded_subjects("test", 1, slices, GRID, seed, complex_valued=False)
    return np.stack([entry["image"][0] for entry in entries], -1).astype(np.float32)


def measured(slices=2, step=3):
    """k-space of every third line and the mask."""
    image = head(slices)
    kspace = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image, (0, 1)), axes=(0, 1), norm="ortho"), (0, 1))
    mask = torch.zeros(1, 1, GRID[1], 1)
    mask[:, :, GRID[1] // 2 % step :: step] = 1
    return case(kspace.astype(np.complex64) * mask[0].numpy(), "kspace", mask=mask)


def assert_same(a, b):
    """Two results, field by field."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@every_bundle
def test_settings_are_those_of_the_configuration(root):
    bundle = DeployBundle(root, TASKS[root], {"ratio": 0.25, "seed": 7, "noise_std": 0.01, "swap_axes": True})
    record = bundle(case(head())).result.record
    assert (record.ratio_requested, record.seed, record.noise_std, record.simulated) == (0.25, 7, 0.01, True)
    assert bundle.swap_axes
    assert record.grid == GRID[::-1]
    default = DeployBundle(root, TASKS[root])
    assert not default.swap_axes
    assert default(case(head())).result.record.ratio_requested == 0.125
    assert (bundle.names, bundle.task) == (default.names, TASKS[root])
    assert bundle.identity == default.identity
    weights, policy, triage = (root / "models" / name for name in ("model.pt", "policy.pt", "triage.json"))
    assert bundle.identity.checksum == sha256(weights)
    assert (bundle.beside["policy_checksum"], bool(bundle.beside["triage_checksum"])) == (
        sha256(policy),
        triage.exists(),
    )


@pytest.mark.parametrize("root", [RECON, PRIVACY], ids=lambda root: root.name)
@pytest.mark.parametrize("make", [lambda: case(head()), measured], ids=["image", "kspace"])
def test_a_case_alone_and_after_others_is_the_same(root, make):
    """Nothing of a case stays behind, and the numbers are floats as the inferer gave them."""
    settings = {"ratio": 0.2}
    fresh, used = (DeployBundle(root, TASKS[root], settings) for _ in range(2))
    used(case(head(3, seed=5)))
    used(measured(1))
    first, second = fresh(make()), used(make())
    assert_same(first.result, second.result)
    tensors = [value for value in first.result if isinstance(value, torch.Tensor) and value.is_floating_point()]
    assert {value.dtype for value in tensors} <= {torch.float32, torch.float64}
    assert used.dataset.data == [None]
    assert first.seconds.keys() == {"acquire", "network"}
    assert min(first.seconds.values()) > 0


def test_swapped_axes_are_those_of_the_image_alone():
    straight, swapped = (DeployBundle(RECON, "reconstruction", {"swap_axes": swap}) for swap in (False, True))
    image = head()
    upright = straight(case(image.swapaxes(0, 1))).result
    assert_same(swapped(case(image)).result, upright)
    assert_same(swapped(measured()).result, straight(measured()).result)


def test_a_single_slice_of_kspace_is_its_slice():
    bundle = DeployBundle(RECON, "reconstruction")
    both, alone = measured(2), measured(2)
    alone = case(alone.data[0, ..., 1:], "kspace", mask=alone.mask)
    result, wanted = bundle(alone).result, bundle(both).result
    assert result.mean.shape == GRID
    torch.testing.assert_close(result.mean, wanted.mean[..., 1], rtol=1e-4, atol=1e-5)
    assert torch.equal(result.mask, wanted.mask[..., 1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"output_dir": "/tmp"}, ["no setting 'output_dir'"]),
        ({"ratio": 2.0}, ["settings: ratio must lie in (0, 1]", "got [2.0]"]),
        ({"noise_std": "5e-4"}, ["settings: noise_std must be a number, got '5e-4'", "sign: 5.0e-4"]),
        ({"noise_std": -1.0}, ["settings: noise_std must be a finite number >= 0, got -1.0"]),
        ({"seed": "$'x'"}, ["settings: seed must be a whole number, got 'x'."]),  # an expression of MONAI
        ({"grid_mode": "stretch"}, ["settings: grid_mode must be 'adapt' or 'crop_pad', got 'stretch'"]),
        ({"policy_path": "/nowhere/policy.pt"}, ["settings: policy_path: ", "/nowhere/policy.pt"]),
        ({"model_path": "/nowhere/model.pt"}, ["settings: model_path: ", "/nowhere/model.pt"]),
        ({"seed": "$open('/nowhere')"}, ['settings: seed cannot be evaluated (FileNotFoundError), got "$open(']),
        ({"swap_axes": "$[1"}, ["settings: swap_axes cannot be evaluated (SyntaxError), got '$[1'."]),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(DeployError, match=r"^settings: ") as error:
        DeployBundle(RECON, "reconstruction", settings)
    assert error.value.code == EXIT_USAGE
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("csf", "must be a list, got 'csf'."),
        ("$'csf'", "must be a list of NUMBER different names, got 'csf'."),
        (["csf", " "], "must be a list of NUMBER different names, got ['csf', ' ']."),
        (["csf", 3, "white"], "must be a list of NUMBER different names, got ['csf', 3, 'white']."),
        (["a", "b ", "b"], "must be a list of NUMBER different names, got ['a', 'b ', 'b']."),
    ],
)
@pytest.mark.parametrize(("root", "key", "number"), [(SEGMENTATION, "structures", 3), (PRIVACY, "labels", 2)])
def test_names_are_a_list_of_as_many_texts_as_there_are_classes(root, key, number, names, message):
    """A text is no list of its letters: "csf" would give the segments c, s and f."""
    with pytest.raises(DeployError) as error:
        DeployBundle(root, TASKS[root], {key: names})
    assert error.value.code == EXIT_USAGE
    assert str(error.value).startswith(f"settings: {key} {message.replace('NUMBER', str(number))}")


def test_names_of_a_user(tmp_path):
    mine = {"structures": "$['a', 'b', 'c']"}, {"structures": ["a", "b", "c"]}
    assert [DeployBundle(SEGMENTATION, "segmentation", one).names for one in mine] == [("a", "b", "c")] * 2
    assert DeployBundle(RECON, "reconstruction").names == ()
    assert DeployBundle(PRIVACY, "classification").names == ("no lesion", "lesion")
    root = Path(shutil.copytree(SEGMENTATION, tmp_path / "bundle"))
    path = root / "configs/inference.json"
    path.write_text(path.read_text().replace('["csf", "grey", "white"]', '["csf", "grey"]'))
    message = r"^models: the bundle cannot be built: ValueError: structures must be a list of 3"
    refuses(DeployError, message, DeployBundle, root, "segmentation")


@pytest.mark.parametrize("name", ["models/model.pt", "models/policy.pt"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(name, tmp_path):
    """The memory of this process is a file that the kernel does not let read at its begin, whoever asks."""
    root = Path(shutil.copytree(RECON, tmp_path / "bundle"))
    (root / name).unlink()
    (root / name).symlink_to("/proc/self/mem")
    with pytest.raises(DeployError) as error:
        DeployBundle(root, "reconstruction")
    wanted = f"models: the bundle cannot be built: {Path(name).name} cannot be read (Input/output error)."
    assert (str(error.value), error.value.code) == (wanted, EXIT_USAGE)


FAR = ": the result and its uncertainty are extrapolated"


def test_warnings_belong_to_every_case_that_deserves_them():
    bundle = DeployBundle(RECON, "reconstruction", {"ratio": 0.5})
    extrapolated = "ratio=0.5 is extrapolated: the policy was trained for the range (0.04, 0.35)"
    for _ in range(2):  # the second case of a grid, too
        assert bundle(case(head())).warnings == (extrapolated,)
    assert bundle(measured()).warnings == ()
    large = torch.zeros(1, 208, 60, 2, dtype=torch.complex64)
    large[:, 78:130] = measured().data
    grid = "k-space of grid (208, 60), but the model was trained on (96, 96)" + FAR
    assert bundle(case(large[0].numpy(), "kspace", mask=measured().mask)).warnings == (grid,)
    small = bundle(case(head()[:20, :24])).warnings
    assert small == ("policy carried from its grid (96, 96) to the image's (20, 24)" + FAR, extrapolated)
    within = DeployBundle(RECON, "reconstruction")
    assert within(case(np.kron(head(), np.ones((2, 2, 1), np.float32)))).warnings == ()
    assert not [h for h in logging.getLogger("infomri_monai").handlers if type(h).__name__ == "_Warnings"]


@pytest.mark.parametrize("level", ["INFO", "WARN", "ERROR", "CRITICAL"])
def test_warnings_get_into_the_objects_whether_they_are_shown_or_not(level, monkeypatch, capfd):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setenv("HOLOSCAN_LOG_LEVEL", "ERROR")
    with logging_as_before():
        _quiet(level)
        warnings = DeployBundle(RECON, "reconstruction", {"ratio": 0.5})(case(head())).warnings
    assert len(warnings) == 1
    said = capfd.readouterr().err
    assert ("WARNING case 3: ratio=0.5 is extrapolated" in said) is (level in ("INFO", "WARN"))
    assert said.count("extrapolated") == (level in ("INFO", "WARN"))
    assert warnings[0].startswith("ratio=0.5")  # the objects are of one case


def test_a_case_that_fails_says_why_and_leaves_the_bundle_usable(caplog):
    bundle = DeployBundle(RECON, "reconstruction")
    refuses(DeployError, r"inference: ValueError: image holds NaN or Inf values\.", bundle, case(head() * np.nan))
    broken = case(head())
    object.__setattr__(broken, "data", broken.data[0, 0])
    refuses(DeployError, "inference", bundle, broken)
    nothing = case(measured().data[0], "kspace", mask=torch.zeros(1, 1, GRID[1], 1))
    refuses(DeployError, "nothing was acquired", bundle, nothing)
    edge = torch.zeros(1, *GRID, 1)
    edge[:, :2, :2] = 1  # which the policy never measures, and no DC
    with pytest.raises(DeployError, match="no overlap") as failed:
        bundle(case(measured().data[0], "kspace", mask=edge))
    assert "the DC position of k-space was not measured in 2 of 2 slices" in failed.value.warnings
    assert_same(bundle(case(head())).result, DeployBundle(RECON, "reconstruction")(case(head())).result)


@every_bundle
def test_an_archive_is_the_directory(root, runs):
    archive = runs.archives / root.name / "model.ts"
    from_archive, directory = (DeployBundle(path, TASKS[root], {"swap_axes": True}) for path in (archive, root))
    for one in (case(head()), measured()):
        assert_same(from_archive(one).result, directory(one).result)
    assert (from_archive.names, from_archive.threshold) == (directory.names, directory.threshold)
    assert (directory.threshold is not None) is (root is SEGMENTATION)
    assert from_archive.identity == directory.identity._replace(checksum=sha256(archive))


def test_an_archive_needs_its_policy_beside_it(runs, tmp_path):
    shutil.copy(runs.archives / SEGMENTATION.name / "model.ts", tmp_path)
    with pytest.raises(DeployError, match=r"cannot be built.*policy\.pt") as error:
        DeployBundle(tmp_path, "segmentation")
    assert error.value.code == EXIT_USAGE
    shutil.copy(runs.archives / SEGMENTATION.name / "policy.pt", tmp_path)
    bundle = DeployBundle(tmp_path, "segmentation")  # without a threshold nothing is decided about review
    assert bundle.threshold is None


def test_weights_are_filled_in_not_run(runs):
    """An archive's code stays where it is: the network is the configured Python class."""
    bundle = DeployBundle(runs.archives / RECON.name, "reconstruction")
    assert type(bundle.network.network).__name__ == "UnrolledReconstructor"
    assert not isinstance(bundle.network.network, torch.jit.ScriptModule)
    assert not bundle.network.training


L, P, F = (np.array(v, float) for v in ((1, 0, 0), (0, 1, 0), (0, 0, -1)))
UPRIGHT = {"axial": (P, L), "coronal": (F, L), "sagittal": (F, P)}


def turned_case(read, phase, **options):
    """A turned_case whose axes run towards these directions (LPS)."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack([2 * read, 3 * phase, 5 * np.cross(read, phase)], 1) * np.array([[-1], [-1], [1]])
    return DeployCase(1, "kspace", torch.zeros(1, 8, 8, 2), affine, CaseSource((), Dataset()), **options)


@settings(deadline=None)
@given(
    plane=st.sampled_from(sorted(UPRIGHT)),
    turn=st.floats(-180, 180),
    tilt=st.floats(-40, 40),
    about_vertical=st.booleans(),
)
def test_turned_in_its_plane_however_that_is_tilted(plane, turn, tilt, about_vertical):
    """More than 45 degrees are told, more than 135 are upside down; tilting the plane changes nothing."""
    down, right = UPRIGHT[plane]
    normal = np.cross(down, right)
    angle = np.deg2rad(tilt)
    if about_vertical:
        right = right * np.cos(angle) + normal * np.sin(angle)
    else:
        down = down * np.cos(angle) + normal * np.sin(angle)
    angle = np.deg2rad(turn)
    read, phase = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
    found = orientation_warning(turned_case(read, phase))
    wanted = "anterior to posterior" if plane == "axial" else "head to feet"
    assert not found or f" for the model: the {plane} slices were read out from " in found
    assert not found or found.endswith(f" upright ones, read out from {wanted}; its results may be worse.")
    if abs(turn) < 45 - 1e-3:
        assert found == ""
    elif 45 + 1e-3 < abs(turn) < 135 - 1e-3:
        assert "lies on its side" in found
    elif abs(turn) > 135 + 1e-3:
        assert "is upside down" in found


def test_images_and_made_up_geometry_are_passed_over(tmp_path):
    assert orientation_warning(turned_case(L, P))
    assert orientation_warning(turned_case(L, P, has_geometry=False)) == ""
    write_example_fastmri(tmp_path / "knee.h5", example_head(1, (24, 20)))
    assert orientation_warning(find_cases(tmp_path)[0][0](1)) == ""
    image = turned_case(L, P)
    object.__setattr__(image, "domain", "image")
    assert orientation_warning(image) == ""


@pytest.mark.parametrize(("turn", "told"), [(0.0, False), (90.0, True)])
def test_from_file_to_result(tmp_path, turn, told, caplog):
    """Where the settings say that the model knows upright slices, result and log hold it; the numbers stay."""
    geometry = ExampleGeometry(angles=(12.0, -7.0, turn))
    write_example_ismrmrd(tmp_path / "scan.h5", example_head(1, (64, 64)), range(0, 64, 2), geometry=geometry)
    scan = find_cases(tmp_path)[0][0](1)
    upright, reader = (DeployBundle(RECON, "reconstruction", {"swap_axes": swap}) for swap in (True, False))
    found, other = upright(scan), reader(scan)
    side = "the anatomy lies on its side for the model: the axial slices were read out from "
    assert any(text.startswith(side) for text in found.warnings) is told
    assert (side in caplog.text) is told
    assert not any(text.startswith(side) for text in other.warnings)
    assert torch.equal(found.result.mean, other.result.mean)
