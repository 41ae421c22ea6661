"""Application: structured report of the diagnosis, and never an image."""
