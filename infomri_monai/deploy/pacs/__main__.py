"""``python -m infomri_monai.deploy.pacs``, see :mod:`infomri_monai.deploy.pacs.command`."""

import sys

from infomri_monai.deploy.pacs.command import main

if __name__ == "__main__":
    sys.exit(main())
