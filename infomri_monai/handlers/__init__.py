"""Room under construction: handlers."""
