"""``python -m infomri_monai.deploy.pacs``, see :mod:`infomri_monai.deploy.pacs.command`."""

from infomri_monai.deploy.launch import end_quietly, raise_stack_limit

if __name__ == "__main__":
    end_quietly("interrupted.")
    raise_stack_limit()

    import os
    import sys
    import warnings

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
