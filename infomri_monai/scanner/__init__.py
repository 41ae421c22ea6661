"""What leaves for a scanner: masks as files, orders of phase encodes and their tables, a Pulseq gradient echo."""
