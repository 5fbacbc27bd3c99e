from affidavit.access.viewers import Viewer as Viewer
from affidavit.core.catalog import Catalog as Catalog
from affidavit.core.catalog import EventType as EventType
from affidavit.core.event import Actor as Actor
from affidavit.core.event import Resource as Resource
from affidavit.core.event import Session as Session
from affidavit.embed import Audit as Audit
from affidavit.embed import anonymous as anonymous
from affidavit.embed import system as system

__version__: str
