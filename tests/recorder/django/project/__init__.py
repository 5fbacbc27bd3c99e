"""A small Django project: teams with members."""
