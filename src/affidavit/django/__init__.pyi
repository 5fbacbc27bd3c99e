from affidavit.django.audit import DjangoAudit
from affidavit.django.middleware import AuditMiddleware as AuditMiddleware

audit: DjangoAudit
