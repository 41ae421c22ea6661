"""Application: DICOM MR series of the reconstruction, and a parametric map of its uncertainty."""
