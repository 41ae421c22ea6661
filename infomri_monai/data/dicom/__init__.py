"""DICOM MR series: found in a folder, judged by their headers, read. Needs pydicom (extras ``data`` and ``deploy``)."""
