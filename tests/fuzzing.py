"""What the fuzz runs share: their seed, limits of time and memory, and what counts as an error of ours."""

import linecache
import math
import resource
import signal
import struct
from contextlib import contextmanager
from pathlib import Path

import torch

import infomri_monai
import infomri_monai.transforms as transforms
from infomri_monai.data.ismrmrd_header import RawDataError, RawFileError
from infomri_monai.deploy.case import DeployError

SEED = 14
#: what stands where a value was
ODD = [0, -1, 1, 65535, 1e38, math.nan, math.inf, "", "x", None, [], [1, 2], ["a", "b"], "9" * 40, b"\xff\xfe"]
OURS = (ValueError, TypeError, OSError, FileNotFoundError, IndexError, RawDataError, RawFileError, DeployError)
ROOTS = tuple(str(Path(module.__file__).resolve().parent) for module in (infomri_monai, transforms))


class _Hang(BaseException):
    """Took too long; no reader's ``except Exception`` hides it."""


def is_ours(error):
    """Raised by a statement of this package, as one of the types that it promises."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    lines = [linecache.getline(file, trace.tb_lineno - back) for back in range(4)]
    return (
        type(error) in OURS and str(Path(file).resolve()).startswith(ROOTS) and any("raise" in line for line in lines)
    )


@contextmanager
def limits(seconds=10, memory=4 << 30):
    """No input may take longer, or more memory than this beyond what is in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def stop(*_):
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def judge(call, arguments, complaints, label, names=()):
    """Note what is neither finite data nor an error of ours, which holds one of ``names``."""
    try:
        with limits():
            for tensor in call(*arguments):
                if not bool(torch.isfinite(torch.as_tensor(tensor)).all()):
                    complaints.append(f"{label}: not finite")
    except (Exception, _Hang) as error:
        if not is_ours(error) or (names and not any(name in str(error) for name in names)):
            frame = error.__traceback__
            while frame.tb_next is not None:
                frame = frame.tb_next
            place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
            complaints.append(f"{label}: {type(error).__name__} at {place}: {str(error)[:120]}")


def bytes_changed(content, draw):
    """Flip, cut, repeat, blank or overwrite: two of three times in the first two thousand bytes."""
    data = bytearray(content)
    reach = len(data) if draw.random() < 0.33 else min(len(data), 2000)
    match draw.randrange(5):
        case 0:
            for _ in range(draw.choice([1, 1, 2, 5, 20])):
                data[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        case 1:
            del data[draw.randrange(reach) :]
        case 2:
            at = draw.randrange(reach)
            data[at:at] = data[at : at + draw.randrange(1, 40)]
        case 3:
            at = draw.randrange(reach)
            data[at : at + draw.randrange(1, 200)] = bytes(draw.randrange(1, 200))
        case _:
            at = draw.randrange(reach)
            value = draw.choice([0, 1, -1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF])
            data[at : at + 4] = struct.pack(draw.choice("<>") + "I", value & 0xFFFFFFFF)
    return bytes(data)
