"""What runs in a process of its own, as Django can be set up once in a process: see ``test_django.py``."""
