"""Classes that are absent from a split, labels of a wrong shape or value, named by the split's argument."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from infomri_monai.data import check_classes, class_frequencies


def single(*labels):
    return [{"label": np.int64(label)} for label in labels]


def multi(*labels):
    return [{"label": np.array(label, np.float32)} for label in labels]


@given(st.integers(2, 5), st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_single_label_against_a_set(classes, labels):
    data = single(*(label % classes for label in labels))
    absent = set(range(classes)) - {label % classes for label in labels}
    if not absent:
        assert check_classes(data, classes) is data
        return
    with pytest.raises(ValueError, match=rf"^data: class {', '.join(map(str, sorted(absent)))} of {classes} is absent"):
        check_classes(data, classes)


def test_multi_label_needs_both_values_of_every_label():
    data = multi([0, 1, 1], [1, 0, 1], [0, 0, 0])
    assert check_classes(data, 3, multi_label=True) is data
    with pytest.raises(ValueError, match=r"^test_data: label 0, 2 of 3 has no positive entry among 2\.$"):
        check_classes(multi([0, 1, 0], [0, 0, 0]), 3, multi_label=True, name="test_data")
    with pytest.raises(ValueError, match=r"^data: label 1 of 2 has no negative entry"):
        check_classes(multi([0, 1], [1, 1]), 2, multi_label=True)


@pytest.mark.parametrize(
    ("data", "options", "named"),
    [
        ([], {}, "validation_data must hold at least one entry"),
        ([{"image": 0}], {}, "entry 0 lacks 'label'"),
        (single(0, 1, 2), {}, "entry 2: 'label' must have shape .* values 0 to 1"),
        (single(0, -1), {}, "entry 1"),
        ([{"label": np.float32(0.5)}], {}, "entry 0"),
        ([{"label": np.float32("nan")}], {}, "entry 0"),
        ([{"label": "0"}], {}, "entry 0"),
        (multi([0, 1]), {}, r"got shape \(2,\)"),
        (multi([0, 1]), {"num_classes": 3, "multi_label": True}, r"shape \(3,\)"),
        (multi([0, 2]), {"multi_label": True}, "values 0 to 1"),
        (single(0), {"num_classes": 1}, "num_classes must be at least 2"),
        (multi([0]), {"num_classes": 0, "multi_label": True}, "num_classes must be at least 1"),
    ],
)
def test_refused(data, options, named):
    with pytest.raises(ValueError, match=named):
        check_classes(data, **{"num_classes": 2, "name": "validation_data", **options})


def test_from_a_configuration_and_with_another_key():
    config = {
        "data": [{"diagnosis": 0}, {"diagnosis": 1}, {"diagnosis": 1}, {"diagnosis": 1}],
        "checked": {
            "_target_": "infomri_monai.data.check_classes",
            **{"data": "@data", "num_classes": 2, "name": "train_data", "label_key": "diagnosis"},
        },
        "shares": {
            "_target_": "infomri_monai.data.class_frequencies",
            **{"data": "@checked", "num_classes": 2, "label_key": "diagnosis"},
        },
    }
    assert ConfigParser(config).get_parsed_content("shares") == [0.25, 0.75]


def test_frequencies_of_image_level_labels():
    labels = np.random.default_rng(0).integers(0, 4, 50)
    assert class_frequencies(single(*labels), 4) == pytest.approx([(labels == c).mean() for c in range(4)])
    independent = np.random.default_rng(1).integers(0, 2, (50, 3))
    assert class_frequencies(multi(*independent), 3, multi_label=True) == pytest.approx(independent.mean(0))
    assert class_frequencies(multi([0, 1]), 2, multi_label=True) == pytest.approx([1e-7, 1 - 1e-7])
    with pytest.raises(ValueError, match="label must hold 3 labels"):
        class_frequencies(multi([0, 1]), 3, multi_label=True)
