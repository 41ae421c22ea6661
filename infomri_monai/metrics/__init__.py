"""Room under construction: metrics."""
