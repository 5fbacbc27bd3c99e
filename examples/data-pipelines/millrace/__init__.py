"""Millrace: teams move their data from one place to another."""
