"""A PACS by DIMSE and DICOMweb: find, pull and push studies. ``python -m infomri_monai.deploy.pacs --help``."""
