"""Measures Affidavit against the raw engine, side by side in one run. ``make bench`` starts it."""
