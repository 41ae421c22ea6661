"""Bad arguments of every reader of a data set: named before a file is opened."""

import pytest
from helper import refuses, refuses_each

from infomri_monai import data

RATERS = {"raters": [0], "rater_options": [{"width": 1.0}], "seed": [-1]}
SUBSET = {"subset": [0, 1.5]}
EMBEDDED = {"subjects": [0], "seed": [-1], "grid": [(8, 64), (64,), (64, 64.5), (64, 1024)]}
CROP = {"kspace_crop": [64, (0, 8)]}
PLUS = {"folder": "absent", "labels_csv": "absent.csv", "file_list_csv": "absent.csv"}


@pytest.mark.parametrize(
    ("reader", "good", "bad"),
    [
        (data.brain_tumour_1380, {"path": "absent.npz"}, {**RATERS, **SUBSET, **CROP, "stretches": [0, 31]}),
        (data.hippocampus_200, {"path": "absent.npz"}, {**RATERS, **SUBSET, "grid": [(48,)], "axis": [3]}),
        (data.hippocampus_200, {"path": "absent.npz"}, {"slices_per_volume": [0]}),
        (data.brain_tumour_side, {"path": "absent.npz"}, {**SUBSET, **CROP, "stretches": [31], "margin": [-0.1, 0.4]}),
        (data.embedded_segmentation, {"subjects": 1}, {**RATERS, **SUBSET}),
        (data.embedded_subjects, {"subjects": 1}, {**EMBEDDED, "slices_per_subject": [17]}),
        (data.embedded_lesions, {"subjects": 1}, {**EMBEDDED, **SUBSET, "prevalence": [1.1, float("nan")]}),
        (data.brisc, {"folder": "absent"}, {**RATERS, "grid": [(16,)], "validation": [0.0, 1.0]}),
        (data.decathlon_slices, {"data_list": "absent.json"}, {"axis": [3], "raters": [0]}),
        (data.fastmri_plus_knee, PLUS, {**SUBSET, "abnormal": ["all"]}),
        (data.mnist, {"path": "absent.npz"}, {**SUBSET, "pad": [(27, 28), 32]}),
        (data.qubiq_prostate, {"folder": "absent"}, {"task": [3], "raters": [0], "grid": [(0, 8)]}),
        (data.skm_tea, {"folder": "absent"}, {"axis": [3], "echo": [0]}),
    ],
)
def test_bad_arguments_are_named_before_a_file_is_opened(reader, good, bad):
    refuses(ValueError, "split must be one of", reader, **good, split="training")
    refuses_each(reader, {"split": "train", **good}, **bad)


@pytest.mark.parametrize(
    ("reader", "good", "named"),
    [
        (data.brain_tumour_1380, {"path": "absent.npz"}, "path"),
        (data.hippocampus_200, {"path": "absent.npz"}, "path"),
        (data.mnist, {"path": "absent.npz"}, r"absent\.npz"),
        (data.brisc, {"folder": "absent"}, "there is no folder"),
        (data.qubiq_prostate, {"folder": "absent"}, "there is no folder"),
        (data.decathlon_slices, {"data_list": "absent.json"}, "data_list: there is no file"),
        (data.fastmri_plus_knee, PLUS, r"labels_csv: there is no file absent\.csv"),
        (data.skm_tea, {"folder": "absent"}, r"annotations/v1.0.0/test\.json"),
    ],
)
def test_absent_files_are_named(reader, good, named):
    refuses(FileNotFoundError, named, reader, **good, split="test")
