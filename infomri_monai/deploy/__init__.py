"""MONAI Deploy: operators and applications that run the bundles on DICOM and raw k-space."""
