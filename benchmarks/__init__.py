"""Measurements: ratios against a competent loop on the same work, in the same process."""
