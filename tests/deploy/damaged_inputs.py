"""All damaged inputs: each says something else, but for what decoders cannot tell apart."""

from __future__ import annotations

from damaged_raw import RAW_FAULTS
from damaged_series import SERIES_FAULTS

#: inputs that make a case fail
FAULTS = (*SERIES_FAULTS, *RAW_FAULTS)

_said = [fault.message for fault in FAULTS if "cannot be decoded (" not in fault.message]
assert len({fault.name for fault in FAULTS}) == len(FAULTS)
assert len(set(_said)) == len(_said)
