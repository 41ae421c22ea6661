"""Room under construction: data."""
