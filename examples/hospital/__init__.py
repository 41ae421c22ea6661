"""What the hospital's demonstration and the tests of the applications share: made-up series and scans, a PACS, and its results.

The folder ``examples/`` of the repository is not installed with the package; a script in it, or one that puts it on its path,
imports ``hospital``.
"""
