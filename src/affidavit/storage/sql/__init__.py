"""Stores whose statements every SQL engine here understands: settings, tasks, policies, holds.

An engine gives them a :class:`~affidavit.storage.sql.database.Database`. Statements have ``?`` for each
parameter and no function that one engine alone knows; where engines differ, Python does the work.
"""
