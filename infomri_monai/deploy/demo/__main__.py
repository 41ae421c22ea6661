"""``python -m infomri_monai.deploy.demo --output demo_output_deploy``."""

from infomri_monai.deploy.launch import raise_stack_limit

raise_stack_limit()

import sys  # noqa: E402

from infomri_monai.deploy.demo.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
