"""Sends events over HTTP and loses none while the server is away."""

from affidavit.recorder.client.client import AsyncAuditClient, AuditClient
from affidavit.recorder.client.handler import AuditHandler

__all__ = ["AsyncAuditClient", "AuditClient", "AuditHandler"]
