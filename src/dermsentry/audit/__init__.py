"""What is wrong with a collection: unreadable files, duplicates, conflicts, leaks, balance, shortcuts.

audit = audit_collection(collection, labels=read_labels("ground-truth.csv"))
write_audit(audit, collection, Path("audit"))        # audit.html, findings.html, tables
"""

from dermsentry.audit.audit import Audit, audit_collection
from dermsentry.audit.report import write_audit

__all__ = ["Audit", "audit_collection", "write_audit"]
