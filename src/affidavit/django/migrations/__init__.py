"""The schema in the user's database, for ``manage.py migrate``."""
