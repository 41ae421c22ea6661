"""Room under construction: engines."""
