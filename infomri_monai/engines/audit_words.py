"""Phrases that the parts of an audit's report share."""

from __future__ import annotations

from collections.abc import Sequence

from infomri_monai.engines.training_budget import Course

__all__ = ["course_words", "listed"]


def course_words(course: Course, ratios: Sequence[float]) -> str:
    """How a training went, as the end of a sentence.

    Example:
        >>> course_words(Course(300, 200, True, {}), [0.25])
        'for ratio 0.25 stopped because validation no longer improved after 300 steps, best at step 200.'
    """
    which = f"for {listed(ratios)} " if ratios else ""
    end = "stopped because validation no longer improved" if course.stopped_early else "ended with its budget"
    best = "the untrained network was best" if course.best_step == 0 else f"best at step {course.best_step}"
    return f"{which}{end} after {course.steps} steps, {best}."


def listed(items: Sequence[float] | Sequence[str]) -> str:
    """Names, or ratios with that word.

    Example:
        >>> listed(["a", "b", "c"]), listed([0.25, 0.125])
        ('a, b and c', 'ratios 0.25 and 0.125')
    """
    texts = [item if isinstance(item, str) else f"{item:.4g}" for item in items]
    joined = texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]
    return joined if isinstance(items[0], str) else f"ratio{'s' if len(texts) > 1 else ''} {joined}"
