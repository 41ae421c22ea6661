"""Room under construction: losses."""
