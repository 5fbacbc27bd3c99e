"""Tests as an app has them: run by ``test_plugin.py`` and its neighbours, each in a process of its own."""
