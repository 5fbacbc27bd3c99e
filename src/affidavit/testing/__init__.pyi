from affidavit.testing.audit_log.event import RecordedEvent as RecordedEvent
from affidavit.testing.audit_log.watch import AuditLog as AuditLog
from affidavit.testing.coverage.asked import AuditCoverage as AuditCoverage
from affidavit.testing.tables import make_tables as make_tables
from affidavit.testing.tables import remove_triggers as remove_triggers
