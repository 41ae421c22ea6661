"""What leaves for a scanner: masks as files, phase encodes in measuring order and their tables, a Pulseq gradient echo.

The command ``infomri-export-masks`` writes them from a policy's checkpoint.
"""

from infomri_monai.scanner.gradient_echo import GradientEcho
from infomri_monai.scanner.mask_files import write_masks
from infomri_monai.scanner.ordering import (
    ORDERINGS,
    PhaseEncodes,
    phase_encode_table,
    phase_encodes,
    read_phase_encodes,
)
from infomri_monai.scanner.pulseq import gradient_echo_sequence, read_pulseq_lines, write_pulseq

__all__ = [
    "ORDERINGS",
    "GradientEcho",
    "PhaseEncodes",
    "gradient_echo_sequence",
    "phase_encode_table",
    "phase_encodes",
    "read_phase_encodes",
    "read_pulseq_lines",
    "write_masks",
    "write_pulseq",
]
