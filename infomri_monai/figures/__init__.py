"""Room under construction: figures."""
