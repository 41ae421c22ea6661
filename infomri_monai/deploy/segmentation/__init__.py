"""Application: DICOM SEG (majority and probability), entropy map and triage report."""
