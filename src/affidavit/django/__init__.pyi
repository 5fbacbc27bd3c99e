from affidavit.access.viewers import Viewer as Viewer
from affidavit.django.middleware import AuditMiddleware as AuditMiddleware
from affidavit.django.recording import audit as audit
