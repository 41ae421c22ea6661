"""A demonstration: a study goes into a PACS, the segmentation application works on it, and its results are found in the PACS."""
