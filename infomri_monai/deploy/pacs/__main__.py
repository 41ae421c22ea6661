"""``python -m infomri_monai.deploy.pacs``, see :mod:`infomri_monai.deploy.pacs.command`."""

import os
import signal
import sys
import warnings
from types import FrameType

from infomri_monai.deploy.interruption import SIGNALS
from infomri_monai.deploy.launch import raise_stack_limit


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Before and after the work nothing needs to be put in order, and an exception could be lost in an import."""
    os.write(2, b"interrupted.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until they are handled, also while the process starts anew
    raise_stack_limit()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    warnings.simplefilter("ignore")  # other libraries' may quote headers

    from infomri_monai.deploy.pacs.command import main

    code = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # as head does it
        os._exit(code)
    if code > 128:
        os._exit(code)  # threads of a connection that was broken off would be waited for
    sys.exit(code)
