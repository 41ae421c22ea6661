"""Review thresholds against a naive search, the exact binomial test and the error rate they promise; and their file."""

from __future__ import annotations

import json
import math

import pytest
import torch
from helper import refusals, refuses
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from infomri_monai.triage import choose_threshold, load_threshold, save_threshold

cases = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), min_size=1, max_size=40)
ACCEPTABLE = 0.65


def split(pairs):
    return [a / 30 for a, _ in pairs], [q / 10 for _, q in pairs]


def kept_at(pairs, threshold):
    """Number kept and number of them unacceptable, counted one by one."""
    kept = [quality for agreement, quality in zip(*split(pairs), strict=True) if agreement >= threshold]
    return len(kept), sum(quality < ACCEPTABLE for quality in kept)


@given(cases, st.sampled_from([0.0, 0.1, 0.25]))
def test_smallest_threshold_with_the_wanted_error(pairs, error_rate):
    agreement, quality = split(pairs)
    chosen = choose_threshold(agreement, quality, ACCEPTABLE, error_rate)
    counts = {threshold: kept_at(pairs, threshold) for threshold in agreement}
    good = [threshold for threshold, (kept, bad) in counts.items() if bad / kept <= error_rate]
    assert chosen.threshold == (min(good) if good else math.inf)
    check_report(chosen, pairs)


@given(cases, st.sampled_from([0.1, 0.3]), st.sampled_from([0.75, 0.9]))
def test_with_confidence_the_first_failure_stops_the_sequence(pairs, error_rate, confidence):
    agreement, quality = split(pairs)
    chosen = choose_threshold(agreement, quality, ACCEPTABLE, error_rate, confidence)
    passed = math.inf
    for threshold in sorted(set(agreement), reverse=True):
        kept, bad = kept_at(pairs, threshold)
        if (1 - error_rate) ** kept > 1 - confidence:  # even without a bad case there would be too few
            continue
        if binomtest(bad, kept, error_rate, alternative="less").pvalue > 1 - confidence:
            break
        passed = threshold
    assert chosen.threshold == passed
    check_report(chosen, pairs)


def check_report(chosen, pairs):
    agreement, _ = split(pairs)
    kept, bad = kept_at(pairs, chosen.threshold)
    assert (chosen.cases, chosen.kept) == (len(pairs), pytest.approx(kept / len(pairs)))
    assert math.isnan(chosen.measured_error) if kept == 0 else chosen.measured_error == pytest.approx(bad / kept)
    assert (~chosen.needs_review(agreement)).sum() == kept
    assert ("every case goes to review" in str(chosen)) == (kept == 0)


def test_promised_error_is_kept_with_the_promised_confidence(generator):
    """Bad cases of probability falling with agreement; with confidence 0.9 at most 10 % of the choices may be too low."""
    broken, kept, runs = {None: 0, 0.9: 0}, 0.0, 300
    for _ in range(runs):
        agreement = torch.rand(120, generator=generator, dtype=torch.float64)
        bad_probability = 0.6 * (1 - agreement).square()
        bad = torch.rand(120, generator=generator, dtype=torch.float64) < bad_probability
        for confidence in broken:
            chosen = choose_threshold(agreement, 1 - bad.double(), ACCEPTABLE, 0.1, confidence)
            stays = ~chosen.needs_review(agreement)
            broken[confidence] += bool(stays.any()) and float(bad_probability[stays].mean()) > 0.1
            kept += float(stays.double().mean()) / runs if confidence else 0
    assert broken[0.9] / runs <= 0.1
    assert broken[None] / runs > 0.3  # the measured error alone promises nothing
    assert kept > 0.25


def test_an_agreement_that_is_unknown_goes_to_review():
    chosen = choose_threshold([0.4, 0.9], [0.2, 0.9], 0.7, 0.0)
    agreement = torch.tensor([[0.9, 0.89], [math.nan, 1.0]], dtype=torch.float64)
    assert chosen.needs_review(agreement).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("confidence", [None, 0.9])
@pytest.mark.parametrize("quality", [0.1, 0.9])
def test_round_trip(tmp_path, confidence, quality):
    chosen = choose_threshold(torch.linspace(0, 1, 41), [quality] * 41, 0.7, 0.1, confidence)
    assert math.isinf(chosen.threshold) == (quality < 0.7)
    save_threshold(chosen, tmp_path / "new" / "threshold.json")
    loaded = load_threshold(tmp_path / "new" / "threshold.json")
    assert str(loaded) == str(chosen)
    assert repr(loaded) == repr(chosen)  # unlike ==, true for NaN
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["threshold.json"]
    json.loads((tmp_path / "new" / "threshold.json").read_text(), parse_constant=pytest.fail)


def saved(tmp_path, **changes):
    path = tmp_path / "threshold.json"
    save_threshold(choose_threshold([0.4, 0.9], [0.2, 0.9], 0.7, 0.1), path)
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "absent"}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": "absent", "kept": "absent"}, "threshold.json lacks threshold, kept"),
        ({"threshold": "0.9"}, "threshold must be a finite number, got '0.9'"),
        ({"error_rate": None}, "error_rate must be a finite number, got None"),
        ({"error_rate": 1.5}, r"threshold.json: error_rate must lie in \[0, 1\)"),
        ({"confidence": 0.2}, r"confidence must lie in \[0.75, 1\)"),
        ({"kept": 1.5}, r"kept must lie in \[0, 1\]"),
        ({"cases": 0}, "cases be a whole number above 0"),
        ({"measured_error": -1}, "measured_error at most 1"),
        ({"threshold": math.nan}, "threshold must be a finite number, got nan"),
        ({"threshold": -5.0}, r"threshold.json: threshold must be an agreement in \[0, 1\], or null .*, got -5.0"),
        ({"threshold": 1.01}, r"threshold must be an agreement in \[0, 1\], or null .*, got 1.01"),
    ],
)
def test_refuses_broken_files(tmp_path, changes, message):
    refuses(ValueError, message, load_threshold, saved(tmp_path, **changes))


@pytest.mark.parametrize("threshold", [-5.0, 1.01, -math.inf, math.nan])
def test_what_could_not_be_read_is_not_written(tmp_path, threshold):
    """Minus infinity keeps every case, and null would send every case to review."""
    chosen = choose_threshold([0.4, 0.9], [0.2, 0.9], 0.7, 0.1)._replace(threshold=threshold)
    with pytest.raises(ValueError, match=r"threshold.json: threshold must be an agreement in \[0, 1\]"):
        save_threshold(chosen, tmp_path / "threshold.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_refuses_files_that_hold_no_threshold(tmp_path, text):
    (tmp_path / "threshold.json").write_text(text)
    with pytest.raises(ValueError, match=r"threshold file threshold\.json (is not JSON|lacks threshold)"):
        load_threshold(tmp_path / "threshold.json")
    refuses(FileNotFoundError, r"other\.json", load_threshold, tmp_path / "other.json")


test_refuses = refusals(
    (lambda: choose_threshold([0.5], [0.5, 0.6], 0.7, 0.1), "quality must hold one number per case"),
    (lambda: choose_threshold([0.5], [math.nan], 0.7, 0.1), "quality must be finite"),
    (lambda: choose_threshold([0.5], [0.5], math.nan, 0.1), "acceptable must be finite"),
    (lambda: choose_threshold([0.5], [0.5], 0.7, 1.0), r"error_rate must lie in \[0, 1\), got 1.0"),
    (lambda: choose_threshold([0.5], [0.5], 0.7, 0.1, 0.5), r"confidence must lie in \[0.75, 1\)"),
    (lambda: choose_threshold([0.5], [0.5], 0.7, 0.0, 0.9), r"error_rate must lie in \(0, 0.5\] when a confidence"),
    (lambda: choose_threshold([0.5], [0.5], 0.7, 0.6, 0.9), r"error_rate must lie in \(0, 0.5\] when a confidence"),
)
