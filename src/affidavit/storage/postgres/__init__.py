"""The PostgreSQL store (README.md in this folder)."""
