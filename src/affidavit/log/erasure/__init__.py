"""Erasure of personal data: asked for, found, announced, taken away in every place, searched for, done."""
